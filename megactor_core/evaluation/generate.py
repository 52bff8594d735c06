"""The held-out clips of a preprocessed folder, animated by a checkpoint: the rows of the paper's Table 3.

Every clip drives itself: its first frame is the portrait, its picture the driving video, its sound the
speech. The generated clips are coded without loss and lie under `generated/<mode>/`; those that are there
already, made by the same weights with the same settings, are not made again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from megactor_core.animation.animate import animate_jobs
from megactor_core.animation.report import AnimateReport
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.evaluate import EvaluateConfig, Mode
from megactor_core.data.sample import SOUND, VIDEO, Sample, read_index
from megactor_core.errors import Interrupted, MegActorError, UsageError, WeightsError
from megactor_core.evaluation.pairing import Failure, Pair, Pairing
from megactor_core.files import sha256_of
from megactor_core.listener import OnNote, OnProgress
from megactor_core.media.image import write_image
from megactor_core.models.checkpoint import MANIFEST

GENERATED, REFERENCES = "generated", "references"
DEFAULT_DATA: Final = Path("data") / "processed"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The clips to animate, sorted by name."""

    folder: Path
    samples: tuple[Sample, ...]


def find_held_out(config: EvaluateConfig) -> HeldOut:
    """The clips of the split; raises UsageError where there is none, MediaError where the data is none."""
    folder = DEFAULT_DATA if config.data is None else config.data
    rows = [row for row in read_index(folder) if row.status == "ok" and row.path is not None]
    wanted = sorted((row for row in rows if row.split == config.split), key=lambda row: row.sample_id)
    if not wanted:
        raise UsageError(
            f"None of the {len(rows)} samples in '{folder}' is of the split '{config.split}'.",
            fix="Preprocess more identities (about one in ten is kept back), or use `--set split=train`.",
        )
    samples = (Sample.open(folder / str(row.path)) for row in wanted[: config.clips])
    return HeldOut(folder, tuple(samples))


def inputs_of(checkpoint: Path, held_out: HeldOut, config: EvaluateConfig) -> dict[str, str]:
    """What the generated clips depend on, in words; raises WeightsError where there is no checkpoint."""
    manifest = checkpoint / MANIFEST
    if not manifest.is_file():
        raise WeightsError(f"'{checkpoint}' is no checkpoint folder (no {MANIFEST}).", fix="Check the path.")
    cadence = {"window_batch", "decode_batch"}
    return {
        "checkpoint": str(checkpoint.absolute()),
        "checkpoint_sha256": sha256_of(manifest),
        "data": str(held_out.folder.absolute()),
        "split": config.split,
        "generate": json.dumps(config.generate.model_dump(mode="json", exclude=cadence)),
    }


def generate(
    checkpoint: Path,
    held_out: HeldOut,
    config: EvaluateConfig,
    *,
    output: Path,
    progress: OnProgress,
    note: OnNote,
) -> dict[str, Pairing]:
    """Animate every clip in every mode; clips that fail are in their mode's failures.

    Raises Interrupted on Ctrl-C (the same call goes on).
    """
    jobs = [(mode, sample) for mode in config.modes for sample in held_out.samples if _can(mode, sample)]
    configs = [animation_of(mode, sample, checkpoint, config, output) for mode, sample in jobs]
    results = animate_all(configs, output=output, phase="animating", progress=progress, note=note)
    made: dict[Mode, list[tuple[Sample, AnimateReport | MegActorError]]] = {mode: [] for mode in config.modes}
    for (mode, sample), result in zip(jobs, results, strict=True):
        made[mode].append((sample, result))
    return {mode: _pairing(mode, held_out, of_mode) for mode, of_mode in made.items()}


def animate_all(
    configs: Sequence[AnimateConfig], *, output: Path, phase: str, progress: OnProgress, note: OnNote
) -> list[AnimateReport | MegActorError]:
    """A report or an error for each, in their order; raises Interrupted on Ctrl-C."""
    results: list[AnimateReport | MegActorError] = []

    def on_done(result: AnimateReport | MegActorError) -> None:
        results.append(result)
        progress(phase, len(results), len(configs))

    try:
        animate_jobs(configs, on_note=_once(note), on_done=on_done)
    except (KeyboardInterrupt, Interrupted) as stop:
        kind = type(stop) if isinstance(stop, Interrupted) else Interrupted
        raise kind(
            f"Interrupted; {len(results)} of {len(configs)} clips are animated and kept in '{output}'.",
            fix="Run the same command again to go on.",
        ) from None
    return results


def _can(mode: Mode, sample: Sample) -> bool:
    """Sound drives only clips that have one."""
    return mode == "V" or sample.facts.has_audio


def animation_of(
    mode: Mode, sample: Sample, checkpoint: Path, config: EvaluateConfig, output: Path
) -> AnimateConfig:
    """How a clip is animated so that the result lies on the clip, pixel by pixel."""
    name = sample.facts.sample_id
    return AnimateConfig(
        reference=_reference(sample, output),
        driving=None if mode == "A" else sample.folder / VIDEO,
        audio=None if mode == "V" else sample.folder / SOUND,
        checkpoint=checkpoint,
        output=output / GENERATED / mode / f"{name}.mp4",
        resume=True,
        fps=sample.facts.rate,
        quality="lossless",
        badge="off",  # what the model made is measured
        crop={"mode": "square"},  # the sample is cropped already: the result must lie on it
        landmarks=config.landmarks,
        device=config.device,
        deterministic=config.deterministic,
        **config.generate.model_dump(),
    )


def _reference(sample: Sample, output: Path) -> Path:
    """The sample's first frame as a picture."""
    path = output / GENERATED / REFERENCES / f"{sample.facts.sample_id}.png"
    if not path.is_file():
        write_image(path, sample.read_frames([0])[0])
    return path


def _pairing(
    mode: Mode, held_out: HeldOut, made: list[tuple[Sample, AnimateReport | MegActorError]]
) -> Pairing:
    pairs, failures = [], []
    for sample, result in made:
        if isinstance(result, MegActorError):
            text = f"{result.message} {result.fix}".strip()
            failures.append(Failure(sample.facts.sample_id, type(result).__name__, text))
        else:
            pairs.append(_pair(mode, sample, result))
    there = {sample.facts.sample_id for sample, _ in made}
    names = [sample.facts.sample_id for sample in held_out.samples]
    return Pairing(
        pairs=tuple(pairs),
        only_real=tuple(name for name in names if name not in there),
        failures=tuple(failures),
    )


def _pair(mode: Mode, sample: Sample, report: AnimateReport) -> Pair:
    """The real clip is brought to the generated one's size, and its own sound counts in every mode."""
    return Pair(
        name=sample.facts.sample_id,
        generated=report.output,
        real=sample.folder / VIDEO,
        sound=sample.folder / SOUND if sample.facts.has_audio else None,
        size=None if report.width == sample.facts.size_px else report.width,
        mode=mode,
    )


def _once(note: OnNote) -> OnNote:
    """Each remark once: most are the same for all clips."""
    said: set[str] = set()

    def say(text: str) -> None:
        if text not in said and "is finished already" not in text:
            said.add(text)
            note(text)

    return say
