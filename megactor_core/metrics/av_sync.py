"""Whether lips and sound go together, and by how many frames they are apart: without any weights.

Not in the paper, which uses SyncNet; this needs nothing but landmarks, and says the offset rather than the
quality. Two movements of the mouth are compared with what is heard of them, after the slow drift is taken
out. An open mouth sounds loud round the first formant of open vowels, and strong there against the low
frequencies that closed lips, nasals and close vowels leave. A mouth spread wide, as in `i`, has a high second
formant, a rounded one, as in `u`, a low one. The curve over the offsets is the mean of both correlations.
Nothing is fitted to the clip, so nothing overfits a short one.

No constant is subtracted: 0 is a picture that moves with the sound's formants. Real talkers move up to two
frames ahead of their sound (articulation leads), which shows as a small negative offset.

Shape legend:
    F video frames   T frames of sound on the video's clock, frame i covers i / fps ... (i + 1) / fps
    N samples at 16 kHz   H hops of 10 ms   K offsets, 2 * max_offset_frames + 1
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

import numpy as np
from einops import rearrange
from scipy.ndimage import gaussian_filter1d

from megactor_core.config.media import DEFAULT_LIMITS, MediaLimits
from megactor_core.faces.landmarks import BackEndName, detect_landmarks
from megactor_core.faces.openings import openings
from megactor_core.media.audio import WHISPER_HZ, Sound, is_silent, read_sound, to_mono
from megactor_core.media.video import probe_video, read_video

Undetermined = Literal["no sound", "silent", "no face", "still mouth", "too short"]

AUDIO_HZ: Final = WHISPER_HZ
SYNC_FPS: Final = Fraction(25)
"""The rate at which SyncNet counts its offsets."""
MAX_OFFSET_FRAMES: Final = 15
"""As SyncNet's vshift."""

# All numbers from here on are ours.
MIN_OVERLAP_SECONDS: Final = 1.0
"""Picture and sound must share so much at every offset that is tried."""
STILL_MOUTH: Final = 0.01
"""Lips whose height varies by less (standard deviation, in outer eye distances) are still: the detector's own
jitter on a still mouth of a moving head is 0.004 to 0.007, speech starts at 0.02."""
DRIFT_SECONDS: Final = 0.5
"""Standard deviation of the window whose mean is taken out: posture and phrases, not syllables."""
UNRELATED_EVIDENCE: Final = 1.2
"""What one in twenty unrelated pairs of talking face and speech reaches by chance at its best offset:
measured 1.0 (real, 3 to 5 s) to 1.3 (synthetic, 3 s)."""

_WINDOW, _HOP, _FFT = 400, 160, 512  # samples: 25 ms, 10 ms
_CHUNK_HOPS: Final = 3000
_LOW_HZ, _OPEN_HZ, _SPREAD_HZ = (100, 450), (500, 1200), (1600, 3200)
_LOUDNESS_POWER: Final = 0.25
_QUIET: Final = 1e-4  # of a band's loud hops (its 95th percentile): 40 dB below, a band counts as silent
_LOUD_PERCENTILE: Final = 95
_PEAK_REACH: Final = 2  # offsets about the best one that belong to its peak
_PERFECT: Final = 0.9999  # correlations end here, so that their logarithms stay finite


@dataclass(frozen=True, slots=True)
class AVSync:
    """How picture and sound lie to each other; where `reason` says why not, nothing was determined."""

    offset_frames: int | None
    """As SyncNet's: positive is sound earlier than picture, lips at frame i go with sound at i - offset."""
    correlation: float | None
    """The curve at the offset: about 0.3 to 0.6 for clips in good order."""
    confidence: float
    """The evidence at the offset as a multiple of what one in twenty unrelated faces and sounds reach by
    chance; grows with the clip's length; 0 where nothing was determined."""
    margin: float | None
    """The curve at the offset less its best value elsewhere; None where there is no elsewhere."""
    curve: np.ndarray
    """(K,) float64, the mean of both correlations at -max_offset_frames to max_offset_frames; NaN where
    undetermined."""
    video_fps: float
    """The rate that the offsets count in."""
    reason: Undetermined | None = None

    @property
    def is_clear(self) -> bool:
        """Whether the offset is to be trusted: confidence of at least 1."""
        return self.confidence >= 1

    @property
    def offset_seconds(self) -> float | None:
        """The offset in seconds."""
        return None if self.offset_frames is None else self.offset_frames / self.video_fps


def measure_av_sync(
    path: Path,
    *,
    back_end: BackEndName = "mediapipe",
    video_fps: Fraction = SYNC_FPS,
    max_offset_frames: int = MAX_OFFSET_FRAMES,
    limits: MediaLimits = DEFAULT_LIMITS,
) -> AVSync:
    """`av_sync` of a video file: its largest face, at `video_fps`, and its own sound.

    Raises MediaError where the file cannot be read, WeightsError where the landmarks' weights are missing,
    UsageError where the back end's package is.
    """
    if not probe_video(path, limits=limits).has_sound:
        return _undetermined("no sound", video_fps=float(video_fps), max_offset_frames=max_offset_frames)
    sound = to_mono(read_sound(path, limits=limits), audio_hz=AUDIO_HZ)
    track = detect_landmarks(read_video(path, video_fps=video_fps, limits=limits), back_end=back_end)
    return av_sync(track.points, sound, video_fps=float(video_fps), max_offset_frames=max_offset_frames)


def av_sync(
    points: np.ndarray,
    sound: np.ndarray,
    *,
    video_fps: float,
    max_offset_frames: int = MAX_OFFSET_FRAMES,
) -> AVSync:
    """The offset between a face and a sound, and how well they go together there.

    points (F, 68, 2) in pixels, NaN where the face was lost (such frames are left out); sound (N,) float,
    mono 16 kHz, from the first frame's time on. Of a clip with a `reason` in the result nothing can be said.
    """
    mouth = _mouth(points, video_fps=video_fps)
    seen = np.isfinite(mouth).all(axis=0)
    # No more sound than can meet the picture: it may be much longer.
    sound = sound[: int(np.ceil((len(seen) + max_offset_frames) / video_fps * AUDIO_HZ))]
    sound_frames = int(len(sound) / AUDIO_HZ * video_fps + 1e-6)
    overlap = min(len(_pairs(seen, sound_frames, offset)) for offset in _offsets(max_offset_frames))
    reason: Undetermined | None = None
    if not seen.any():
        reason = "no face"
    elif is_silent(Sound(rearrange(sound, "n -> n 1"), AUDIO_HZ)):
        reason = "silent"
    elif overlap < MIN_OVERLAP_SECONDS * video_fps:
        reason = "too short"
    elif float(mouth[0, seen].std()) < STILL_MOUTH:
        reason = "still mouth"
    if reason is not None:
        return _undetermined(reason, video_fps=video_fps, max_offset_frames=max_offset_frames)
    heard = _heard(sound, frames=sound_frames, video_fps=video_fps)
    correlations = _correlations(mouth, heard, seen=seen, max_offset_frames=max_offset_frames)
    return _read_off(correlations, seconds=int(seen.sum()) / video_fps, video_fps=video_fps)


def _undetermined(reason: Undetermined, *, video_fps: float, max_offset_frames: int) -> AVSync:
    return AVSync(
        offset_frames=None,
        correlation=None,
        confidence=0.0,
        margin=None,
        curve=np.full(2 * max_offset_frames + 1, np.nan),
        video_fps=video_fps,
        reason=reason,
    )


def _read_off(correlations: np.ndarray, *, seconds: float, video_fps: float) -> AVSync:
    """The offset out of both correlations at each offset, (2, K)."""
    curve = np.tanh(np.arctanh(correlations).mean(axis=0))  # Fisher's mean
    best = int(curve.argmax())
    elsewhere = np.delete(curve, range(max(0, best - _PEAK_REACH), min(len(curve), best + _PEAK_REACH + 1)))
    # The logarithm of the likelihood ratio of two dependent against two independent normal variables, but
    # for the samples' number; by the second, since neighbouring frames say the same.
    evidence = -seconds * float(np.log1p(-np.square(np.maximum(correlations[:, best], 0))).sum())
    return AVSync(
        offset_frames=best - len(curve) // 2,
        correlation=float(curve[best]),
        confidence=evidence / UNRELATED_EVIDENCE,
        margin=float(curve[best] - elsewhere.max()) if len(elsewhere) else None,
        curve=curve,
        video_fps=video_fps,
    )


# ---------------------------------------------------------------- what is seen


def _mouth(points: np.ndarray, *, video_fps: float) -> np.ndarray:
    """Height and width of the mouth without their drift, (2, F), NaN where the face was lost.

    The height of the outer lips: the inner ones follow speech no better and are found less steadily.
    """
    faces = openings(points)
    tracks = (faces.lips_height, faces.mouth_width)
    return np.stack([_without_drift(track, video_fps=video_fps) for track in tracks])


# ---------------------------------------------------------------- what is heard


def _heard(sound: np.ndarray, *, frames: int, video_fps: float) -> np.ndarray:
    """Height and width of the mouth as they sound, without their drift: (N,) -> (2, T)."""
    low, opened, spread = _band_energies(sound)

    def on_frames(track: np.ndarray) -> np.ndarray:
        track = _without_drift(_frame_means(track, frames=frames, video_fps=video_fps), video_fps=video_fps)
        return track / max(float(track.std()), 1e-9)

    loudness = on_frames(opened**_LOUDNESS_POWER)
    openness = on_frames(_log(opened) - _log(low))
    return np.stack([loudness + openness, on_frames(_log(spread) - _log(opened))])


def _band_energies(sound: np.ndarray) -> np.ndarray:
    """The sound's energy round each hop in the low, the open and the spread band: (N,) -> (3, H) float64."""
    hz = np.arange(_FFT // 2 + 1) * (AUDIO_HZ / _FFT)
    bands = np.stack([(hz >= low) & (hz < high) for low, high in (_LOW_HZ, _OPEN_HZ, _SPREAD_HZ)])
    energies = [np.square(np.abs(spectra)) @ bands.T.astype(np.float64) for spectra in _spectra(sound)]
    return rearrange(np.concatenate(energies), "h b -> b h")


def _spectra(sound: np.ndarray) -> Iterator[np.ndarray]:
    """Short-time spectra in chunks of hops, (h, _FFT / 2 + 1); hop j is centred on sample j * _HOP."""
    padded = np.pad(sound.astype(np.float64), _WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    for start in range(0, len(windows), _CHUNK_HOPS):
        yield np.fft.rfft(windows[start : start + _CHUNK_HOPS] * np.hanning(_WINDOW), _FFT, axis=-1)


def _log(energy: np.ndarray) -> np.ndarray:
    """Decades of energy, where what is far below the band's loud hops is as good as silent."""
    floor = _QUIET * np.percentile(energy, _LOUD_PERCENTILE)
    return np.asarray(np.log10(energy + max(float(floor), np.finfo(np.float64).tiny)))


def _frame_means(track: np.ndarray, *, frames: int, video_fps: float) -> np.ndarray:
    """The mean of a track (H,) over the time of each video frame, (T,)."""
    hops_per_frame = AUDIO_HZ / _HOP / video_fps
    # Hop j stands for the time from half a hop before its centre to half a hop after.
    edges = np.arange(frames + 1) * hops_per_frame + 0.5
    total = np.interp(edges, np.arange(len(track) + 1), np.concatenate([[0.0], np.cumsum(track)]))
    return np.diff(total) / hops_per_frame


# ---------------------------------------------------------------- how they go together


def _without_drift(track: np.ndarray, *, video_fps: float) -> np.ndarray:
    """A track (F,) less its local mean, a Gaussian window that passes over NaN; NaN stays NaN."""
    known = np.isfinite(track)
    sigma = DRIFT_SECONDS * video_fps
    total = gaussian_filter1d(np.where(known, track, 0.0), sigma, mode="constant")
    weight = gaussian_filter1d(known.astype(np.float64), sigma, mode="constant")
    return np.where(known, track - total / np.where(known, weight, 1.0), np.nan)


def _offsets(max_offset_frames: int) -> range:
    return range(-max_offset_frames, max_offset_frames + 1)


def _pairs(seen: np.ndarray, sound_frames: int, offset: int) -> np.ndarray:
    """The frames with a face whose sound, `offset` frames before, exists."""
    frames = np.flatnonzero(seen)
    return frames[(frames - offset >= 0) & (frames - offset < sound_frames)]


def _correlations(
    mouth: np.ndarray, heard: np.ndarray, *, seen: np.ndarray, max_offset_frames: int
) -> np.ndarray:
    """Of mouth (2, F) with heard (2, T) at each offset: (2, K)."""
    columns = []
    for offset in _offsets(max_offset_frames):
        frames = _pairs(seen, heard.shape[1], offset)
        columns.append(_correlation(mouth[:, frames], heard[:, frames - offset]))
    return np.stack(columns, axis=1)


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's, row by row and short of 1: (2, n) twice -> (2,); 0 where a row does not vary."""
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    correlation = (a * b).sum(axis=1) / np.where(scale > 0, scale, 1.0)
    return np.clip(correlation, -_PERFECT, _PERFECT)
