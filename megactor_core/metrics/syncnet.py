"""Sync-C and Sync-D: how well lips and speech match, by SyncNet (Chung and Zisserman 2016).

25 frames a second, 224x224 pixels about the face, sound at 16 kHz. A window is five frames and 0.2 s of
sound; each becomes 1024 numbers, which lie close where lips and speech match.

Upstream passes the frames through a JPEG coder on the way, which moves the numbers by up to 0.1; here they go
in as they are. The crop upstream comes from another face detector than ours.

Shape legend:
    B windows   F frames   N samples   T windows of a clip   S = 31 shifts
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import scipy.signal
import torch
from einops import rearrange
from torch import Tensor, nn

from megactor_core import weights
from megactor_core.errors import MetricError
from megactor_core.metrics.frames import require_frames
from megactor_core.metrics.mfcc import mfcc
from megactor_core.metrics.published import fill, run

ENTRY: Final = "syncnet"
WEIGHTS_FILE: Final = "syncnet_v2.model"
SIDE_PX: Final = 224
VIDEO_FPS: Final = 25
FEATURES: Final = 1024
WINDOW_FRAMES: Final = 5
WINDOW_MFCC: Final = 20
MFCC_PER_FRAME: Final = 4
SAMPLES_PER_FRAME: Final = 640
MAX_SHIFT_FRAMES: Final = 15
MEDIAN_FRAMES: Final = 9
_DISTANCE_EPS: Final = 1e-6
"""Added to each difference, as torch's pairwise distance does."""


class SyncScores(NamedTuple):
    """A clip's scores."""

    offset: int
    """Frames; positive where the sound is earlier than the picture."""
    distance: float
    """Sync-D, the mean distance at that offset; lower is better."""
    confidence: float
    """Sync-C, how far that is below the median over all offsets; higher is better."""


def load_syncnet(path: Path | None = None) -> "SyncNet":
    """The network with the published weights, from `path` or from the cache.

    Raises WeightsError where they are missing (it names the command that gets them) or are other weights.
    """
    return fill(SyncNet, path or weights.find(ENTRY) / WEIGHTS_FILE, entry=ENTRY)


def window_count(*, frames: int, samples: int) -> int:
    """How many windows a clip has, as upstream counts: it leaves the very last one out.

    Raises MetricError where there is none.
    """
    count = min(frames, samples // SAMPLES_PER_FRAME) - WINDOW_FRAMES
    if count < 1:
        raise MetricError(
            f"SyncNet needs more than {WINDOW_FRAMES} frames and {WINDOW_FRAMES / VIDEO_FPS} s of sound; the "
            f"clip has {frames} frames and {samples} samples.",
            fix="Give a longer clip, or leave this metric out.",
        )
    return count


def lip_features(network: "SyncNet", frames: np.ndarray, *, windows: int | None = None) -> np.ndarray:
    """Features of five frames each, from face crops: (F, 224, 224, 3) uint8 RGB -> (T, 1024) float32.

    T is `windows`, or all that fit: F - 4. Raises MetricError for other frames and for fewer than asked for.
    """
    require_frames(frames)
    if frames.shape[1:3] != (SIDE_PX, SIDE_PX):
        raise MetricError(
            f"SyncNet takes crops of {SIDE_PX}x{SIDE_PX} pixels, not {frames.shape[2]}x{frames.shape[1]}.",
            fix="Crop the face first.",
        )
    count = _windows_asked_for(windows, len(frames) - WINDOW_FRAMES + 1)
    return run(network.lip, _lip_windows(frames, range(count)), width=FEATURES)


def audio_features(network: "SyncNet", samples: np.ndarray, *, windows: int | None = None) -> np.ndarray:
    """Features of 0.2 s of sound each, a window a frame: (N,) mono at 16 kHz in [-1, 1] -> (T, 1024) float32.

    T is `windows`, or all that fit. Raises MetricError for other sounds and for fewer windows than asked for.
    """
    coefficients = mfcc(samples)
    fitting = (len(coefficients) - WINDOW_MFCC) // MFCC_PER_FRAME + 1
    count = _windows_asked_for(windows, fitting)
    return run(network.audio, _audio_windows(coefficients, range(count)), width=FEATURES)


def clip_features(
    network: "SyncNet", frames: np.ndarray, samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features of lips and sound of a clip, the windows that both have: (T, 1024) float32 twice.

    frames (F, 224, 224, 3) uint8 RGB at 25 a second; samples (N,) mono at 16 kHz.
    """
    count = window_count(frames=len(frames), samples=len(samples))
    return lip_features(network, frames, windows=count), audio_features(network, samples, windows=count)


def lip_features_of_parts(network: "SyncNet", parts: Sequence[tuple[np.ndarray, range]]) -> list[np.ndarray]:
    """Features of some windows of several clips, which pass the network together on a GPU.

    A part is a clip's crops (F, 224, 224, 3) uint8 RGB and its windows -> (len(windows), 1024) float32 each.
    """
    items = chain.from_iterable(_lip_windows(frames, windows) for frames, windows in parts)
    return _split(run(network.lip, items, width=FEATURES), [len(windows) for _, windows in parts])


def audio_features_of_parts(
    network: "SyncNet", parts: Sequence[tuple[np.ndarray, range]]
) -> list[np.ndarray]:
    """As `lip_features_of_parts`, from the clips' coefficients `mfcc(samples)` (J, 13)."""
    items = chain.from_iterable(_audio_windows(values, windows) for values, windows in parts)
    return _split(run(network.audio, items, width=FEATURES), [len(windows) for _, windows in parts])


def sync_scores(lip: np.ndarray, audio: np.ndarray) -> SyncScores:
    """Offset, distance (Sync-D) and confidence (Sync-C) of a clip: (T, 1024) twice -> a tuple of three.

    Shifts of up to 15 frames are tried; beyond the ends of the sound there are zeros, which count.
    Raises MetricError where the two differ in shape, are empty or are not finite.
    """
    return _scores(_distances(lip, audio))


def sync_scores_of_part(lip: np.ndarray, around: np.ndarray) -> SyncScores:
    """The scores of some neighbouring windows of a clip: (n, 1024) and (n + 30, 1024) -> as `sync_scores`.

    `around` holds the sound's features from 15 windows before the first to 15 after the last, zeros beyond
    the clip. Of all windows it gives what `sync_scores` does. Raises MetricError as that does.
    """
    return _scores(_shifted_distances(np.asarray(lip), np.asarray(around)))


def _scores(distances: np.ndarray) -> SyncScores:
    mean = distances.mean(axis=0)  # (S,)
    best = int(mean.argmin())
    return SyncScores(
        offset=MAX_SHIFT_FRAMES - best,
        distance=float(mean[best]),
        confidence=float(np.median(mean) - mean[best]),
    )


def sync_over_time(lip: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Confidence at each frame, at the clip's best offset, median over nine: (T, 1024) twice -> (T,)."""
    distances = _distances(lip, audio)
    mean = distances.mean(axis=0)
    confidence = np.median(mean) - distances[:, int(mean.argmin())]
    return np.asarray(scipy.signal.medfilt(confidence, MEDIAN_FRAMES))


class SyncNet(nn.Module):
    """The two networks, with the names and shapes of syncnet_v2.model: 102 tensors, 13,631,616 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, 64, 3, padding=1),
            nn.MaxPool2d(1, stride=1),
            *_conv2d(64, 192, 3, padding=1),
            nn.MaxPool2d(3, stride=(1, 2)),
            *_conv2d(192, 384, 3, padding=1),
            *_conv2d(384, 256, 3, padding=1),
            *_conv2d(256, 256, 3, padding=1),
            nn.MaxPool2d(3, stride=2),
            *_conv2d(256, 512, (5, 4)),
        )
        self.netfcaud = _head()
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, 96, (5, 7, 7), stride=2),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            *_conv3d(96, 256, (1, 5, 5), stride=2, padding=1),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            *_conv3d(256, 512, (1, 6, 6)),
        )
        self.netfclip = _head()

    @property
    def lip(self) -> nn.Module:
        """(B, 3, 5, 224, 224) BGR in 0..255 -> (B, 1024)."""
        return nn.Sequential(_ColoursTogether(), self.netcnnlip, nn.Flatten(), self.netfclip)

    @property
    def audio(self) -> nn.Module:
        """(B, 1, 13, 20) MFCC -> (B, 1024)."""
        return nn.Sequential(self.netcnnaud, nn.Flatten(), self.netfcaud)


class _ColoursTogether(nn.Module):
    """Lays the colours of a pixel side by side: a CPU pools in three dimensions ten times faster so."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.is_cuda else x.contiguous(memory_format=torch.channels_last_3d)


def _conv2d(
    channels: int, out: int, kernel: int | tuple[int, int], *, padding: int = 0
) -> tuple[nn.Module, nn.Module, nn.Module]:
    return nn.Conv2d(channels, out, kernel, padding=padding), nn.BatchNorm2d(out), nn.ReLU()


def _conv3d(
    channels: int, out: int, kernel: tuple[int, int, int], *, stride: int = 1, padding: int = 0
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Stride and padding are those of the picture; time goes frame by frame."""
    conv = nn.Conv3d(channels, out, kernel, stride=(1, stride, stride), padding=(0, padding, padding))
    return conv, nn.BatchNorm3d(out), nn.ReLU()


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, FEATURES))


def _windows_asked_for(asked: int | None, fitting: int) -> int:
    count = fitting if asked is None else asked
    if not 1 <= count <= fitting:
        raise MetricError(
            f"SyncNet has room for {max(0, fitting)} windows, and {count} are asked for.",
            fix="Give a longer clip.",
        )
    return count


def _split(rows: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """(sum of counts, 1024) into pieces of so many rows."""
    return np.split(rows, np.cumsum(counts)[:-1]) if counts else []


def _lip_windows(frames: np.ndarray, windows: range) -> Iterator[Tensor]:
    """Five frames each, one further a window: (3, 5, 224, 224) float32, BGR."""
    for start in windows:
        window = torch.from_numpy(frames[start : start + WINDOW_FRAMES]).flip(-1)
        yield rearrange(window, "f h w c -> c f h w").float()


def _audio_windows(coefficients: np.ndarray, windows: range) -> Iterator[Tensor]:
    """Twenty columns each, four further a window: (1, 13, 20) float32."""
    for number in windows:
        start = number * MFCC_PER_FRAME
        window = coefficients[start : start + WINDOW_MFCC].astype(np.float32)
        yield rearrange(torch.from_numpy(window), "t c -> 1 c t")


def _distances(lip: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Of each window of the lips to the sound at each shift: (T, 1024) twice -> (T, S) float64."""
    lip, audio = np.asarray(lip), np.asarray(audio)
    if lip.shape != audio.shape or lip.ndim != 2 or not len(lip):
        raise MetricError(
            f"The features of lips are {lip.shape}, those of the sound {audio.shape}.",
            fix="Take equally many windows of both, and at least one.",
        )
    return _shifted_distances(lip, np.pad(audio, ((MAX_SHIFT_FRAMES, MAX_SHIFT_FRAMES), (0, 0))))


def _shifted_distances(lip: np.ndarray, around: np.ndarray) -> np.ndarray:
    """(n, 1024) and (n + S - 1, 1024) -> (n, S) float64."""
    if not len(lip) or len(around) != len(lip) + 2 * MAX_SHIFT_FRAMES:
        raise MetricError(
            f"To {len(lip)} windows of lips belong {len(lip) + 2 * MAX_SHIFT_FRAMES} of sound, not "
            f"{len(around)}.",
            fix=f"Take {MAX_SHIFT_FRAMES} more on either side, zeros beyond the clip.",
        )
    if not (np.isfinite(lip).all() and np.isfinite(around).all()):
        raise MetricError("SyncNet's features are not finite.", fix="Look for damaged frames or weights.")
    lips, sound = lip.astype(np.float64) + _DISTANCE_EPS, around.astype(np.float64)
    shifts = range(2 * MAX_SHIFT_FRAMES + 1)
    return np.stack([np.linalg.norm(lips - sound[k : k + len(lips)], axis=1) for k in shifts], axis=1)
