"""What is measured on one animated clip, beside its truth.

Shape legend:
    F frames   S side of the picture   68 points
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from megactor_core.config.animate import LandmarkBackEnd
from megactor_core.evaluation.truth_clips import TruthClip
from megactor_core.faces.landmarks import FaceTrack, detect_landmarks
from megactor_core.metrics.control import alpha_response, cross_talk
from megactor_core.metrics.gauge import SIZE_PX, Gauge, Readings
from megactor_core.metrics.geometry import FaceMeasures
from megactor_core.metrics.motion import FlickerMeter, landmark_jitter
from megactor_core.metrics.picture import psnr, ssim
from megactor_core.metrics.statistics import correlation, mean_decibels, mean_of_known, ratio

MOVING: Final = {
    "mouth": "mouth_open",
    "width": "mouth_wide",
    "smile": "smile",
    "eyes": "eye_open",
    "gaze": "gaze_x",
    "yaw": "yaw_degrees",
    "pitch": "pitch_degrees",
    "roll": "roll_degrees",
}
"""Readings by their name in the tables."""
LEAST_MOVEMENT: Final = {"yaw": 0.3, "pitch": 0.3, "roll": 0.3}
LEAST_OTHER_MOVEMENT: Final = 0.04
"""Standard deviation of the truth over a clip, in degrees and on scales of 0 to 1, from which on there is
something to follow. A clip without a blink has no correlation of eyes: it would be that of noise (ours)."""


@dataclass(frozen=True, slots=True)
class TrueClip:
    """The clip that an animated one should be: truth, pictures, and how the instruments read those."""

    clip: TruthClip
    frames: np.ndarray
    """(F, S, S, 3) uint8"""
    readings: Readings
    truth: dict[str, np.ndarray]
    """Each of MOVING, (F,)."""
    jitter: float
    """Of the landmarks that the gauge reads off the true frames."""
    detector_jitter: float
    """Of those that the face detector finds in them."""
    flicker: float

    @staticmethod
    def of(clip: TruthClip, gauge: Gauge, *, frames: int, landmarks: LandmarkBackEnd) -> "TrueClip":
        """Read the first frames of a clip."""
        pictures = clip.sample.read_frames(list(range(frames)))
        readings = gauge.read(pictures)
        return TrueClip(
            clip=clip,
            frames=pictures,
            readings=readings,
            truth={name: clip.performance.track(trait)[:frames] for name, trait in MOVING.items()},
            jitter=mean_of_known(landmark_jitter(readings.points)),
            detector_jitter=_detector_jitter(detect_landmarks(pictures, back_end=landmarks)),
            flicker=_flicker(pictures),
        )

    def faces(self) -> FaceMeasures:
        """The true landmarks, exactly."""
        return as_faces(self.clip.points[: len(self.frames)])


@dataclass(frozen=True, slots=True)
class Measured:
    """One animated clip: its numbers, and its readings for what is pooled over clips."""

    values: dict[str, float]
    readings: Readings


def measure(true: TrueClip, frames: np.ndarray, gauge: Gauge) -> Measured:
    """Correlations with the truth, amplitudes over the true frames' own, jitter and flicker: cheap numbers.

    frames (F, S, S, 3) uint8, those of the animated clip.
    """
    readings = gauge.read(frames)
    values = {}
    for name, trait in MOVING.items():
        found, real = readings.trait(trait), true.readings.trait(trait)
        if true.truth[name].std() >= LEAST_MOVEMENT.get(name, LEAST_OTHER_MOVEMENT):
            values[f"{name}_r"] = correlation(found, true.truth[name])
            values[f"{name}_amplitude"] = ratio(float(found.std()), float(real.std()))
        values[f"{name}_error"] = float(np.abs(found - true.truth[name]).mean())
    jitter = mean_of_known(landmark_jitter(readings.points))
    values |= {
        "mouth_moves": float(readings.trait("mouth_open").std()),
        "jitter": jitter,
        "jitter_ratio": ratio(jitter, true.jitter),
        "flicker": _flicker(frames),
        "true_flicker": true.flicker,
        "points_error": float(np.linalg.norm(readings.points - true.readings.points, axis=-1).mean()),
    }
    return Measured(values, readings)


def measure_picture(true: TrueClip, frames: np.ndarray, *, landmarks: LandmarkBackEnd) -> dict[str, float]:
    """Likeness of the pictures, and whether the default detector finds their faces: dearer numbers."""
    track = detect_landmarks(frames, back_end=landmarks)
    return {
        "psnr": mean_decibels(psnr(true.frames, frames)),
        "ssim": float(ssim(true.frames, frames).mean()),
        "face_share": float(track.found.mean()),
        "detector_jitter_ratio": ratio(_detector_jitter(track), true.detector_jitter),
    }


def head_gains(true: TrueClip, readings: Readings) -> dict[str, float]:
    """How many times the true in-plane motion of the head is in that of an animated clip, frame by frame."""
    found = alpha_response((0.0, 1.0), (as_faces(readings.points), true.faces()))
    return {
        "shift_gain": float(found.shift_gains[0]),
        "roll_gain": float(found.roll_gains[0]),
        "shift": float(found.shifts[0]),
        "roll_degrees": float(found.rolls_degrees[0]),
        "true_shift": float(found.shifts[1]),
        "true_roll_degrees": float(found.rolls_degrees[1]),
    }


def leak(first: np.ndarray, second: np.ndarray, readings: tuple[Readings, Readings]) -> dict[str, float]:
    """What changes in two clips of a still head, (F, S, S, 3) uint8 each, when other eyes drive it."""
    faces = [as_faces(reading.points) for reading in readings]
    found = cross_talk(first, second, first=faces[0], second=faces[1])
    changes = {
        name: float(np.abs(readings[0].trait(trait) - readings[1].trait(trait)).mean())
        for name, trait in (("mouth", "mouth_open"), ("eyes", "eye_open"))
    }
    return {
        "leak_ratio": found.leak_ratio,
        "leak_mouth_levels": found.mouth_change,
        "leak_eyes_levels": found.eyes_change,
        "leak_mouth_open": changes["mouth"],
        "leak_eye_open": changes["eyes"],
        "leak_opening_ratio": ratio(changes["mouth"], changes["eyes"]),
    }


def pooled(measured: Mapping[str, Measured], true: Mapping[str, TrueClip]) -> dict[str, float]:
    """Correlations over the frames of all clips together; both by the clip's name."""
    return {
        f"{name}_r": correlation(
            np.concatenate([one.readings.trait(trait) for one in measured.values()]),
            np.concatenate([true[clip].truth[name] for clip in measured]),
        )
        for name, trait in MOVING.items()
    }


def as_faces(points: np.ndarray) -> FaceMeasures:
    """Landmarks (F, 68, 2) of pictures as the gauge reads them."""
    return FaceMeasures.of(points, frame_width=SIZE_PX, frame_height=SIZE_PX)


def _detector_jitter(track: FaceTrack) -> float:
    return mean_of_known(landmark_jitter(track.points))


def _flicker(frames: np.ndarray) -> float:
    meter = FlickerMeter()
    for frame in frames:
        meter.add(frame)
    return meter.mean()
