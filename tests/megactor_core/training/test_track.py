"""TensorBoard: said clearly where it is missing, and the numbers of metrics.jsonl where it is there."""

import importlib.util

import pytest

from megactor_core.errors import ConfigError
from megactor_core.training.train import train
from megactor_core.training.watch import METRICS, StepMetrics, read_metrics


def test_a_tracker_that_is_not_installed(make_config, fake_source, monkeypatch) -> None:
    monkeypatch.setattr("megactor_core.training.track.find_spec", lambda _name: None)
    config = make_config(track="tensorboard")
    with pytest.raises(ConfigError, match=r"tensorboard is not installed.*megactor\[track\]"):
        train(config, source=fake_source())
    assert not config.folder.exists()


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="the extra `track` is missing")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_its_curves_are_the_metrics(make_config, fake_source) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = make_config(track="tensorboard", steps=3)
    train(config, source=fake_source())
    train(config.updated(steps=5, resume=True), source=fake_source())
    events = EventAccumulator(str(config.folder / "tensorboard")).Reload()
    lines = read_metrics(config.folder / METRICS, StepMetrics)
    found = [(event.step, event.value) for event in events.Scalars("training/loss")]
    assert found == [(line.step, pytest.approx(line.loss)) for line in lines]
    assert len(found) == 5
