"""The demo's steps, in their order."""

from megactor_core.demo.animation_step import animate_example
from megactor_core.demo.curation_step import curate_corpus
from megactor_core.demo.data_steps import cut_samples, film_corpus
from megactor_core.demo.evaluation_step import evaluate_model
from megactor_core.demo.step import Step
from megactor_core.demo.training_steps import train_stage
from megactor_core.demo.workplace import Workplace


def steps_of(workplace: Workplace) -> tuple[Step, ...]:
    """Each works on what those before it have made."""
    return (
        film_corpus(workplace),
        curate_corpus(workplace),
        cut_samples(workplace),
        train_stage(workplace),
        animate_example(workplace),
        evaluate_model(workplace),
    )
