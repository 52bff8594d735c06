"""What early reject saves, and what every rule is worth.

python tests/benchmarks/curate.py [CLIPS [SEED [CORPUS]]]; with `sync` alone in place of them, the last part
is measured alone, in 2 minutes.

A corpus of synthetic clips, six in ten of them wrong in a known way, is curated three times in this process:
with early reject; with every measure of every clip; and with every measure of every clip on every frame. Each
run's CPU time is that of its clips, as the engine counts it. CLIPS is 400, which takes about 10 minutes of
one core; making them takes 2 more. SEED, 0, draws the corpus; CORPUS is a folder to make it in, or to go on
with one that was begun there; by default a temporary one.

Then SyncNet's screen against its full score on clips of 8 seconds: CPU time, windows counted, and by how much
the screen's scores are off. Without downloaded weights the network is random, which is said: its time is the
same, its error is not.

Last, SyncNet's scores as `curate` takes them (screens of several clips together, then the rest of their
windows) against a plain loop over the clips that embeds one window after another, on clips of noise.

Ends with 1 where decisions differ, a goal is missed, or the control pair of the last part differs.
"""

import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from curation_truth import TRUTH
from einops import rearrange
from measure import CONTROL_TOLERANCE, interleaved, ratio, spread

from megactor_core import weights
from megactor_core.config.curate import CurateConfig, RulesConfig
from megactor_core.config.media import MediaLimits
from megactor_core.config.recipes import load_config
from megactor_core.config.synth import SynthConfig
from megactor_core.curation.av_check import follow_face, mono_sound
from megactor_core.curation.curate import curate
from megactor_core.curation.footage import VIDEO_FPS
from megactor_core.curation.part import Part
from megactor_core.curation.rules import RULES
from megactor_core.curation.sync import Windows, embed, full_measures, screen_measures
from megactor_core.errors import WeightsError
from megactor_core.faces.landmarks import detect_faces
from megactor_core.metrics import syncnet
from megactor_core.metrics.mfcc import mfcc
from megactor_core.metrics.sync_crop import crop_face, crop_squares
from megactor_core.metrics.syncnet import SyncNet, load_syncnet, sync_scores, window_count
from megactor_core.synthetic.corpus import make_corpus
from megactor_core.synthetic.truth import read_truth

CLIPS, SIZE_PX, SECONDS = 400, 128, 2.0
MOST_OF_EVERY_FRAME, MOST_OF_FULL, MOST_OF_LOOP = 0.25, 0.3, 1.05
SYNC_CLIPS, SYNC_SECONDS, SCREEN_SHARE, ROUNDS = 3, 8.0, 0.25, 3
LOOP_CLIP_FRAMES = (17, 21, 25)
UPSTREAM_BLOCK = 20
"""Windows that upstream's script embeds at once."""
EVERY_FRAME = ("measure.face_seconds=0.04", "measure.light_seconds=0.04", "measure.niqe_frames=1000")
"""At 25 frames a second; the first look has key frames alone."""


@dataclass(frozen=True)
class Run:
    """A curated corpus and what its clips cost."""

    rows: dict[str, dict[str, Any]]
    cpu_seconds: float
    decodes: int
    rules: RulesConfig


def run(corpus: Path, output: Path, *, audit: float, overrides: tuple[str, ...] = ()) -> Run:
    """Curate the corpus anew, in this process."""
    options = {"workers": 0, "sources": (corpus,), "output": output, "audit": audit}
    config = load_config(CurateConfig, command="curate", recipe="tiny", overrides=overrides, options=options)
    report = curate(config)
    rows = pq.read_table(output / "manifest.parquet").to_pylist()
    by_name = {Path(row["source_uri"]).stem: row for row in rows}
    return Run(by_name, report.worker_cpu_seconds, report.decodes, config.rules)


# ---------------------------------------------------------------- what is true


def rule_lines(corpus: Path, audited: Run) -> Iterator[str]:
    """Precision and recall of every rule that is right or wrong about any clip."""
    truths = {name: read_truth(corpus / "truth" / f"{name}.parquet") for name in audited.rows}
    for rule in RULES:
        count: Counter[tuple[bool, bool]] = Counter()
        for name, row in audited.rows.items():
            is_true = TRUTH.get(rule.name, lambda _truth, _rules: False)(truths[name], audited.rules)
            if is_true is not None:
                count[is_true, any(reason.startswith(f"{rule.name}:") for reason in row["reasons"])] += 1
        hit, miss, false = count[True, True], count[True, False], count[False, True]
        if hit + miss + false:
            yield (
                f"  {rule.name:21} hits {hit:3}  missed {miss:2}  wrong {false:2}"
                f"  precision {_part(hit, hit + false)}  recall {_part(hit, hit + miss)}"
            )


def _part(count: int, whole: int) -> str:
    return f"{count / whole:.3f}" if whole else "    -"


# ---------------------------------------------------------------- SyncNet


def network() -> tuple[SyncNet, str]:
    """SyncNet with its weights where they are, and random ones where they are not."""
    try:
        return load_syncnet(weights.find(syncnet.ENTRY) / syncnet.WEIGHTS_FILE), "downloaded weights"
    except WeightsError:
        torch.manual_seed(0)
        return SyncNet().eval(), "random weights, so that its error says nothing of real ones"


def windows_of(path: Path) -> Windows:
    """A clip as SyncNet sees it, nothing embedded."""
    part = Part(path, 0.0, None, MediaLimits(decode_threads=1))
    frames = list(part.frames(video_fps=VIDEO_FPS, damaged=[]))
    squares = crop_squares(follow_face(frames, back_end="mediapipe"))
    crops = np.stack([crop_face(frame, square) for frame, square in zip(frames, squares, strict=True)])
    return Windows.of(crops, mono_sound(part))


def sync_lines(folder: Path) -> Iterator[tuple[str, bool]]:
    """The screen against the full score, each line with whether its goal is met."""
    make_corpus(SynthConfig(output=folder, clips=SYNC_CLIPS, size=SIZE_PX, seconds=SYNC_SECONDS, workers=0))
    net, which = network()
    ratios, errors, counts = [], [], Counter[str]()
    with torch.no_grad():
        for path in sorted((folder / "clips").glob("*.mp4")):
            clip = windows_of(path)
            part = clip.screened(SCREEN_SHARE)
            for _ in range(ROUNDS):
                screen, full = (Windows(clip.crops, clip.coefficients, clip.count) for _ in range(2))
                ratios.append(_cpu(net, screen, part) / _cpu(net, full, range(full.count)))
            counts["lips"] += int(np.isfinite(screen.lips[:, 0]).sum())
            counts["sounds"] += int(np.isfinite(screen.sounds[:, 0]).sum())
            counts["all"] += clip.count
            seen, whole = screen_measures(screen, part), full_measures(full)
            errors.append([abs(seen[f"screen_sync_{name}"] - whole[f"sync_{name}"]) for name in "cd"])
    median = statistics.median(ratios)
    c_error, d_error = np.mean(errors, axis=0)
    yield f"SyncNet's screen ({which})", True
    yield (
        f"  windows: {counts['lips']} of lips and {counts['sounds']} of sound, of {counts['all']} each",
        True,
    )
    yield (
        f"  CPU time {median:.3f} of the full score (median of {len(ratios)} pairs; goal {MOST_OF_FULL})",
        median <= MOST_OF_FULL,
    )
    yield f"  mean error of Sync-C {c_error:.3f}, of Sync-D {d_error:.3f}", True


def _cpu(net: SyncNet, clip: Windows, part: range) -> float:
    start = time.process_time()
    embed(net, [clip], [part])
    return time.process_time() - start


# ---------------------------------------------------------------- SyncNet against a plain loop

Clip = tuple[np.ndarray, np.ndarray]
"""Crops (F, 224, 224, 3) uint8 RGB and mono sound (N,) at 16 kHz."""


def scored_together(net: SyncNet, clips: Sequence[Clip]) -> list[float]:
    """Sync-D of clips as `curate` takes it: all their screens, then the rest of their windows."""
    opened = [Windows.of(crops, sound) for crops, sound in clips]
    screens = [clip.screened(SCREEN_SHARE) for clip in opened]
    embed(net, opened, screens)
    for clip, part in zip(opened, screens, strict=True):
        screen_measures(clip, part)
    embed(net, opened, [clip.screened(1.0) for clip in opened])
    return [full_measures(clip)["sync_d"] for clip in opened]


@torch.inference_mode()
def scored_in_a_loop(net: SyncNet, clips: Sequence[Clip], *, block: int = 1) -> list[float]:
    """The same by a plain loop over the clips, `block` windows at a time."""
    scores = []
    for crops, sound in clips:
        coefficients, count = mfcc(sound), window_count(frames=len(crops), samples=len(sound))
        lips, sounds = [], []
        for first in range(0, count, block):
            windows = range(first, min(count, first + block))
            frames = torch.from_numpy(np.stack([crops[k : k + 5, ..., ::-1] for k in windows]))
            lips.append(net.lip(rearrange(frames, "b f h w c -> b c f h w").float()))
            columns = torch.from_numpy(np.stack([coefficients[4 * k : 4 * k + 20] for k in windows]))
            sounds.append(net.audio(rearrange(columns, "b t c -> b 1 c t").float()))
        scores.append(sync_scores(torch.cat(lips).numpy(), torch.cat(sounds).numpy()).distance)
    return scores


def loop_lines() -> Iterator[tuple[str, bool]]:
    """Scores of clips together against the plain loop, each line with whether its goal is met."""
    net, which = network()
    rng = np.random.default_rng([0])
    clips = [
        (
            rng.integers(0, 256, (frames, syncnet.SIDE_PX, syncnet.SIDE_PX, 3), dtype=np.uint8),
            rng.uniform(-0.5, 0.5, frames * syncnet.SAMPLES_PER_FRAME).astype(np.float32),
        )
        for frames in LOOP_CLIP_FRAMES
    ]
    differ = np.abs(np.subtract(scored_together(net, clips), scored_in_a_loop(net, clips))).max()
    seconds = interleaved(
        {
            "together": lambda: scored_together(net, clips),
            "loop": lambda: scored_in_a_loop(net, clips),
            "control": lambda: scored_in_a_loop(net, clips),
            "blocks": lambda: scored_in_a_loop(net, clips, block=UPSTREAM_BLOCK),
        }
    )
    ours, control, blocks = (
        ratio(seconds[name], seconds["loop"]) for name in ("together", "control", "blocks")
    )
    windows = sum(frames - syncnet.WINDOW_FRAMES for frames in LOOP_CLIP_FRAMES)
    yield f"SyncNet's scores of {len(clips)} clips, {windows} windows ({which})", differ < 1e-4
    yield (
        f"  CPU time {ours:.3f} of a plain loop's (median of {len(seconds['loop'])} pairs, quartiles "
        f"{spread(seconds['together'], seconds['loop'])}; goal {MOST_OF_LOOP})",
        ours <= MOST_OF_LOOP,
    )
    yield f"  the loop against itself {control:.3f}", abs(control - 1) <= CONTROL_TOLERANCE
    yield f"  a loop over {UPSTREAM_BLOCK} windows at a time {blocks:.3f} of the plain loop's", True


# ---------------------------------------------------------------- together


def compared(folder: Path, corpus: Path) -> Iterator[tuple[str, bool]]:
    """The three runs, each line with whether its goal is met."""
    detect_faces(np.zeros((64, 64, 3), np.uint8))  # loads the models, which are no clip's cost
    early = run(corpus, folder / "early", audit=0.0)
    whole = run(corpus, folder / "whole", audit=1.0)
    every = run(corpus, folder / "every", audit=1.0, overrides=EVERY_FRAME)
    clips = len(early.rows)
    kept = sum(row["keep"] for row in early.rows.values())
    yield f"{clips} clips of {SECONDS:g} s at {SIZE_PX} px, {kept} kept", True
    for name, other, goal in (
        ("all measures", whole, None),
        ("all measures on every frame", every, MOST_OF_EVERY_FRAME),
    ):
        share = early.cpu_seconds / other.cpu_seconds
        differ = [n for n, row in early.rows.items() if row["keep"] != other.rows[n]["keep"]]
        aim = "" if goal is None else f"; goal {goal}"
        yield (
            f"  early reject {early.cpu_seconds:.1f} s, {name} {other.cpu_seconds:.1f} s CPU: "
            f"{share:.3f}{aim}; decodes {early.decodes} and {other.decodes}",
            goal is None or share <= goal,
        )
        yield f"  decided otherwise: {', '.join(differ) or 'none'}", not differ
    yield "rules, on clips whose truth is known", True
    yield from ((line, True) for line in rule_lines(corpus, whole))


def all_lines(arguments: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """All parts, or the one that is asked for."""
    if arguments[:1] != ["sync"]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            corpus = Path(arguments[2]) if len(arguments) > 2 else folder / "corpus"
            make_corpus(
                SynthConfig(
                    output=corpus,
                    clips=int(arguments[0]) if arguments else CLIPS,
                    seed=int(arguments[1]) if len(arguments) > 1 else 0,
                    size=SIZE_PX,
                    seconds=SECONDS,
                    identities=400,
                    workers=0,
                    faults={"enabled": True, "share": 0.6},
                )
            )
            yield from compared(folder, corpus)
            yield from sync_lines(folder / "sync")
    yield from loop_lines()


def main() -> int:
    torch.set_num_threads(1)
    is_good = True
    for line, is_met in all_lines(sys.argv[1:]):
        sys.stdout.write(f"{line}{'' if is_met else '  MISSED'}\n")
        sys.stdout.flush()
        is_good &= is_met
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
