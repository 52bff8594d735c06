"""Meters of faces and of motion: landmarks against the real clip's, jitter, amplitudes, flicker.

Shape legend:  F frames compared
"""

from collections.abc import Callable
from typing import Final

from megactor_core.config.evaluate import MetricName
from megactor_core.errors import MetricError
from megactor_core.evaluation.meters import Block, Found, Whole
from megactor_core.metrics.geometry import FaceErrors, FaceMeasures, compare_faces
from megactor_core.metrics.motion import FlickerMeter, landmark_jitter, measure_motion

_FACES: Final[dict[str, Callable[[FaceErrors], float]]] = {
    "face_distance": lambda errors: errors.face,
    "mouth_distance": lambda errors: errors.mouth,
    "face_lmd": lambda errors: errors.face_lmd_px,
    "mouth_lmd": lambda errors: errors.mouth_lmd_px,
    "pose_error": lambda errors: errors.pose_degrees,
    "eyes_open_error": lambda errors: errors.eyes_open,
    "mouth_open_error": lambda errors: errors.mouth_open,
    "eyes_open_correlation": lambda errors: errors.eyes_open_correlation,
    "mouth_open_correlation": lambda errors: errors.mouth_open_correlation,
    "yaw_correlation": lambda errors: errors.yaw_correlation,
    "mouth_amplitude_ratio": lambda errors: errors.mouth_amplitude_ratio,
    "face_share": lambda errors: errors.generated_face_share,
    "face_share_real": lambda errors: errors.real_face_share,
}


class FacesMeter:
    """The generated face against the real one, by landmarks."""

    metric: MetricName = "faces"

    def add(self, block: Block) -> None:
        """All is done at the end."""

    def finish(self, whole: Whole) -> Found:
        real, generated = faces_of(whole)
        errors = compare_faces(real, generated)
        if not errors.compared_frames:
            return _no_face_in_both(errors)
        frames = errors.per_frame
        return Found(
            {name: read(errors) for name, read in _FACES.items()},
            {
                "face_distance": frames.face,
                "mouth_distance": frames.mouth,
                "pose_error": frames.pose_degrees.mean(axis=1),
                "mouth_open_real": real.openings.mouth_open,
                "mouth_open_generated": generated.openings.mouth_open,
                "eyes_open_real": real.openings.eyes_open.mean(axis=1),
                "eyes_open_generated": generated.openings.eyes_open.mean(axis=1),
                "pose_real": real.pose,
                "pose_generated": generated.pose,
            },
        )


def _no_face_in_both(errors: FaceErrors) -> Found:
    """The shares alone: a set whose faces are lost must not pass for one whose faces are all found."""
    if not errors.real_face_share:
        raise MetricError(f"None of the {errors.frames} real frames shows a face.")
    return Found(
        {"face_share": errors.generated_face_share, "face_share_real": errors.real_face_share},
        gap=f"Of {errors.frames} frames none shows a face in both clips (real {errors.real_face_share:.0%}, "
        f"generated {errors.generated_face_share:.0%}).",
    )


class MotionMeter:
    """How either face moves by itself: jitter and amplitudes."""

    metric: MetricName = "motion"

    def add(self, block: Block) -> None:
        """All is done at the end."""

    def finish(self, whole: Whole) -> Found:
        real, generated = faces_of(whole)
        without = [
            name for name, faces in (("generated", generated), ("real", real)) if not faces.found.any()
        ]
        if len(without) == 2:
            raise MetricError(f"None of the {whole.frames} frames of either clip shows a face.")
        values: dict[str, float] = {}
        for ending, faces in (("", generated), ("_real", real)):
            motion = measure_motion(faces)
            values |= {
                f"jitter{ending}": motion.jitter,
                f"mouth_amplitude{ending}": motion.mouth_amplitude,
                f"head_turn{ending}": motion.head_turn_degrees,
                f"head_shift{ending}": motion.head_shift,
            }
        arrays = {f"jitter{end}": landmark_jitter(f.points) for end, f in (("", generated), ("_real", real))}
        gap = f"None of the {whole.frames} {without[0]} frames shows a face." if without else None
        return Found(values, arrays, gap)


class FlickersMeter:
    """How much of either picture changes that should be still."""

    metric: MetricName = "flicker"

    def __init__(self) -> None:
        self._generated, self._real = FlickerMeter(), FlickerMeter()

    def add(self, block: Block) -> None:
        for real, generated in zip(block.real, block.generated, strict=True):
            self._real.add(real)
            self._generated.add(generated)

    def finish(self, whole: Whole) -> Found:
        if whole.frames < 3:
            raise MetricError(f"Flicker takes at least 3 frames; the clip has {whole.frames}.")
        return Found(
            {"flicker": self._generated.mean(), "flicker_real": self._real.mean()},
            {"flicker": self._generated.per_frame(), "flicker_real": self._real.per_frame()},
        )


def faces_of(whole: Whole) -> tuple[FaceMeasures, FaceMeasures]:
    """Real and generated face."""
    assert whole.real_points is not None, "a metric of faces"
    assert whole.generated_points is not None
    size = {"frame_width": whole.width, "frame_height": whole.height}
    return FaceMeasures.of(whole.real_points, **size), FaceMeasures.of(whole.generated_points, **size)
