"""How much each way of spoiling a clip moves each metric: prints a table in Markdown.

Three real clips of up to 4 s at 256 pixels, each against a copy that is worse in one way.
    MEGACTOR_TEST_DATA=DIR python tests/benchmarks/evaluate_degraded.py [NAMES]

NAMES are metrics; without them, all that need no weights. FID, FVD, LPIPS and SyncNet are taken with what
`megactor weights pull fid fvd lpips syncnet` got, on a CPU in about a minute a second of video:
    MEGACTOR_TEST_DATA=DIR python tests/benchmarks/evaluate_degraded.py fid,fvd,lpips,sync

With `random` as a last word they are taken with networks of random weights in the published layouts instead.
Those know nothing of faces or speech: the values are of no use, but equal clips still have a distance of 0,
and what a metric does not look at does not move it. LPIPS weighs its random features alike.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from megactor_core.config.evaluate import EvaluateConfig, NetworkFiles
from megactor_core.evaluation.catalogue import measures_of
from megactor_core.evaluation.run import evaluate
from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.faces.track import fill_lost
from megactor_core.media.audio import Sound, fit_seconds, read_sound
from megactor_core.media.video import read_video
from megactor_core.media.video_writer import VideoWriter
from megactor_core.metrics.i3d import InceptionI3d
from megactor_core.metrics.inception import InceptionV3
from megactor_core.metrics.lpips import LPIPS
from megactor_core.metrics.syncnet import SyncNet

CLIPS = ("mochabench/4_man_reading", "megactor_audio_ENTF_1", "megactor_audio_CHTF_2")
FPS, FRAMES, SIZE_PX, SHIFT_FRAMES = Fraction(25), 100, 256, 5
COLUMNS = (
    *("fid", "fvd", "lpips", "sync_c", "sync_d", "sync_offset"),
    *("psnr", "ssim", "ms_ssim", "niqe", "face_distance", "mouth_lmd", "pose_error", "eyes_open_error"),
    *("mouth_open_correlation", "mouth_amplitude", "av_correlation", "av_offset", "jitter", "flicker"),
)

Frames = list[np.ndarray]
Clip = tuple[Frames, Sound]


def read_clip(path: Path) -> Clip:
    """The middle square of the frames of a clip's beginning, and their sound."""
    frames = [
        cv2.resize(middle(frame), (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
        for frame in islice(read_video(path, video_fps=FPS), FRAMES)
    ]
    seconds = float(len(frames) / FPS)
    return frames, fit_seconds(read_sound(path, seconds=seconds), seconds=seconds)


def middle(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frame[top : top + side, left : left + side]


def blurred(clip: Clip, _others: list[Clip]) -> Clip:
    return [cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in clip[0]], clip[1]


def noisy(clip: Clip, _others: list[Clip]) -> Clip:
    rng = np.random.default_rng([0])
    noise = rng.normal(0, 8, (len(clip[0]), SIZE_PX, SIZE_PX, 3))
    return [np.clip(f + n, 0, 255).astype(np.uint8) for f, n in zip(clip[0], noise, strict=True)], clip[1]


def dropped(clip: Clip, _others: list[Clip]) -> Clip:
    """Every second frame is the one before it."""
    return [clip[0][k - k % 2] for k in range(len(clip[0]))], clip[1]


def sound_later(clip: Clip, _others: list[Clip]) -> Clip:
    shift = round(SHIFT_FRAMES / FPS * clip[1].audio_hz)
    return clip[0], Sound(np.roll(clip[1].samples, shift, axis=0), clip[1].audio_hz)


def frozen_mouth(clip: Clip, _others: list[Clip]) -> Clip:
    """The first frame's mouth over every frame's, moved along with the face."""
    points = fill_lost(detect_landmarks(clip[0]), policy="interpolate").points[:, 48:68]
    middles = points.mean(axis=1)
    half = int(np.ptp(points[0], axis=0).max() * 0.8)
    x, y = middles[0].round().astype(int)
    patch = clip[0][0][y - half : y + half, x - half : x + half]
    frames = []
    for frame, (cx, cy) in zip(clip[0], middles.round().astype(int), strict=True):
        copy = frame.copy()
        copy[cy - half : cy + half, cx - half : cx + half] = patch
        frames.append(copy)
    return frames, clip[1]


def another_person(clip: Clip, others: list[Clip]) -> Clip:
    return others[0][0], clip[1]


WAYS: dict[str, Callable[[Clip, list[Clip]], Clip]] = {
    "itself": lambda clip, _others: clip,
    "blur, sigma 2": blurred,
    "noise, sigma 8": noisy,
    "every second frame dropped": dropped,
    f"sound {SHIFT_FRAMES} frames later": sound_later,
    "frozen mouth": frozen_mouth,
    "another person": another_person,
}


def write(path: Path, clip: Clip) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(
        path, video_fps=FPS, width=SIZE_PX, height=SIZE_PX, sound=clip[1], quality="lossless"
    ) as video:
        for frame in clip[0]:
            video.write(frame)


def random_networks(folder: Path) -> NetworkFiles:
    """Files of random weights, drawn so that signals keep their size from layer to layer."""
    torch.manual_seed(0)
    folder.mkdir()
    lpips = drawn(LPIPS())
    tensors = {
        "fid": drawn(InceptionV3()),
        "fvd": drawn(InceptionI3d()),
        "syncnet": drawn(SyncNet()),
        "lpips_trunk": {name: value for name, value in lpips.items() if name.startswith("features.")},
        "lpips_heads": {
            name: torch.full_like(value, 1 / value.numel())
            for name, value in lpips.items()
            if name.startswith("lin")
        },
    }
    for name, values in tensors.items():
        torch.save(values, folder / f"{name}.pth")
    return NetworkFiles.model_validate({name: folder / f"{name}.pth" for name in tensors})


def drawn(network: nn.Module) -> dict[str, Tensor]:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return network.state_dict()


def main() -> None:
    words = sys.argv[1:]
    chosen = EvaluateConfig(workers=0, cache_features=False)
    if words:
        chosen = chosen.updated(metrics=words[0].split(","))
    taken = {measure.name for measure in measures_of(chosen.wanted)}
    columns = [name for name in COLUMNS if name in taken]
    data = Path(os.environ["MEGACTOR_TEST_DATA"]) / "driving"
    clips = [read_clip(data / f"{name}.mp4") for name in CLIPS]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if "random" in words:
            chosen = chosen.updated(networks=random_networks(root / "networks"))
        for name, clip in zip(CLIPS, clips, strict=True):
            write(root / "real" / f"{name}.mp4", clip)
        sys.stdout.write(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}\n")
        for number, (way, spoil) in enumerate(WAYS.items()):
            for k, (name, clip) in enumerate(zip(CLIPS, clips, strict=True)):
                others = [*clips[k + 1 :], *clips[:k]]
                write(root / str(number) / f"{name}.mp4", spoil(clip, others))
            config = chosen.updated(
                generated=root / str(number), real=root / "real", output=root / f"out{number}"
            )
            found = evaluate(config).sets[""].metrics
            cells = [f"{found[name].value:.4g}" if name in found else "-" for name in columns]
            sys.stdout.write(f"| {way} | {' | '.join(cells)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
