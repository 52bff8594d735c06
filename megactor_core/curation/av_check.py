"""Gate `av_sync`: whether the mouth goes with the sound, and by how much they are apart, without weights.

The face is followed through every frame; the same points say where SyncNet is to look.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from megactor_core.config.animate import LandmarkBackEnd
from megactor_core.curation.footage import VIDEO_FPS
from megactor_core.curation.part import Part
from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.faces.openings import openings
from megactor_core.media.audio import WHISPER_HZ, to_mono
from megactor_core.metrics.av_sync import AVSync, av_sync
from megactor_core.metrics.statistics import deviation_of_known

LEAD_FRAMES: Final = 2
"""Frames by which lips lead the sound in clips in good order."""


def follow_face(frames: Iterable[np.ndarray], *, back_end: LandmarkBackEnd) -> np.ndarray:
    """The largest face's points on every frame, (F, 68, 2) float32, NaN where it is lost."""
    return detect_landmarks(frames, back_end=back_end).points


def measure_av_sync(
    points: np.ndarray, sound: np.ndarray | None, *, lips_face_px: int
) -> tuple[dict[str, Any], str | None]:
    """Offset and confidence of points (F, 68, 2) and mono sound at 16 kHz, and why there are none.

    None are taken of a face that is narrower than `lips_face_px`, by the median of its frames.
    """
    found = np.isfinite(points).all(axis=(1, 2))
    amplitude = deviation_of_known(openings(points).mouth_open) if found.any() else np.nan
    measures: dict[str, Any] = {
        "mouth_amplitude": float(amplitude) if np.isfinite(amplitude) else None,
        "tracked_share": float(found.mean()),
    }
    if sound is None:
        return measures, "no sound"
    if found.any() and np.median(np.ptp(points[found][..., 0], axis=1)) < lips_face_px:
        return measures, f"a face narrower than {lips_face_px} px"
    sync = av_sync(points, sound, video_fps=float(VIDEO_FPS))
    measures |= {
        "av_offset_frames": sync.offset_frames,
        "av_confidence": sync.confidence,
        "av_correlation": sync.correlation,
        "av_gain": None if sync.correlation is None else _gain(sync),
    }
    return measures, sync.reason


def _gain(sync: AVSync) -> float:
    """By how much the best offset is better than none, give or take what real talkers' lips lead by."""
    middle = len(sync.curve) // 2
    return float(sync.curve.max() - sync.curve[middle - LEAD_FRAMES : middle + LEAD_FRAMES + 1].max())


def mono_sound(part: Part) -> np.ndarray:
    """The clip's sound, (N,) at 16 kHz; raises MediaError where there is none that can be decoded."""
    return to_mono(part.sound(), audio_hz=WHISPER_HZ)
