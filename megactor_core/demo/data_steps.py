"""Data to learn from: a corpus, and the samples that are made of it."""

from typing import Final

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.synth import SynthConfig
from megactor_core.data.sample import read_index
from megactor_core.demo.bricks import picture
from megactor_core.demo.command import Command
from megactor_core.demo.step import Shown, Step
from megactor_core.demo.workplace import IN_PROCESS, Workplace
from megactor_core.listener import Listener
from megactor_core.media.image import read_image
from megactor_core.pages.page import Markup, note, paragraph
from megactor_core.preprocessing.preprocess import preprocess
from megactor_core.preprocessing.report import PreprocessReport
from megactor_core.preprocessing.sheet import sample_sheet
from megactor_core.synthetic.corpus import SynthReport, make_corpus

SEED: Final = 2001
"""People of its own, none of them in the default checkpoint's corpus; the sixth, the 17th and the 21st are
held out."""
FAULTS: Final = "no_sound, two_faces, large_rotation, scene_cut, small_face, no_face"
FAULTY_SHARE: Final = 0.3
"""Of the clips, so that there is something to find; none of them shows a person who is held out."""
SHOWN_SAMPLES: Final = 3


def film_corpus(workplace: Workplace) -> Step:
    """Talking heads with twins, small and plain, as the recipe `tiny` has them."""
    command = Command(
        "synth",
        recipe="tiny",
        options={
            "clips": workplace.scale.clips,
            "seed": SEED,
            "output": workplace.corpus,
            **IN_PROCESS,
        },
        overrides=(
            "faults.enabled=true",
            f"faults.share={FAULTY_SHARE}",
            f"faults.kinds=[{FAULTS}]",
        ),
    )

    def work(listener: Listener) -> Shown:
        config = command.config(SynthConfig)
        report = make_corpus(config, on_progress=listener.progress, on_note=listener.note)
        return Shown(_of_corpus(report))

    return Step("corpus", "Clips to learn from", (command,), work)


def cut_samples(workplace: Workplace) -> Step:
    """Training samples of the clips that were kept."""
    command = Command(
        "preprocess",
        source=workplace.curated,
        recipe="tiny",
        options={"output": workplace.samples, **IN_PROCESS},
    )

    def work(listener: Listener) -> Shown:
        report = preprocess(command.config(PreprocessConfig), listener.progress, listener.note)
        return Shown(_of_samples(report, workplace))

    return Step("samples", "From clips to samples", (command,), work)


def _of_corpus(report: SynthReport) -> tuple[Markup, ...]:
    return (
        paragraph(
            f"A program draws talking heads: {report.clips} clips of {report.identities} people, "
            f"{report.seconds:.0f} seconds in all. It makes their speech too, and the mouths move with it "
            "exactly. Each clip has a twin: another person with the same motion and the same speech. The "
            "twin will be the driver, so that the model cannot learn to copy its driver's face."
        ),
        paragraph(
            f"{sum(report.faults.values())} clips are wrong on purpose, as raw videos often are: "
            f"{', '.join(kind.replace('_', ' ') for kind in report.faults)}. The next step has to find them."
        ),
        paragraph("Dots are the 68 points of the face, which are known exactly here."),
        picture(read_image(report.sheet), shows="Frames of the first clips, and of a twin."),
    )


def _of_samples(report: PreprocessReport, workplace: Workplace) -> tuple[Markup, ...]:
    splits = report.samples_by_split
    sheet = sample_sheet(workplace.samples, read_index(workplace.samples)[:SHOWN_SAMPLES])
    return (
        paragraph(
            "Each clip is cut to its face. A detector finds the 68 points, the head's pose, the eyes and the "
            "mouth, as it would in a real video. The sound becomes what the model hears. "
            f"{report.ok} of {report.clips} clips became samples."
        ),
        paragraph(
            f"For training: {splits['train']}. Only to measure: {splits['validation']}, of people who are in "
            "no sample for training."
        ),
        paragraph(
            "Green points were found. Squares are what the model sees of the driver: the eyes (blue) and the "
            "mouth (red)."
        ),
        picture(sheet, shows="Frames of samples with their points and regions."),
        note("A clip that cannot be used would be listed with its reason, and the rest would go on."),
    )
