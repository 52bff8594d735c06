"""How far a generated face is from the real one by its landmarks: place, shape, pose and openings.

Nothing of this is in the paper; it needs no weights but the landmark detector's. A frame in which either face
was lost is left out of every number, and counted.

Shape legend:
    F frames   68 points in iBUG order   3 angles: yaw, pitch, roll
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from megactor_core.errors import MetricError
from megactor_core.faces.headpose import head_pose
from megactor_core.faces.landmarks import FaceTrack
from megactor_core.faces.openings import OUTER_EYE_CORNERS, Openings, openings
from megactor_core.faces.regions import MOUTH
from megactor_core.metrics.statistics import correlation, deviation_of_known, mean_of_known, ratio

TURN_DEGREES: Final = 360.0


@dataclass(frozen=True, slots=True)
class FaceMeasures:
    """What is measured on one face in F frames; NaN where it was lost."""

    points: np.ndarray
    """(F, 68, 2) pixels."""
    pose: np.ndarray
    """(F, 3) degrees, as `faces.headpose` gives them."""
    openings: Openings
    """Of mouth and eyes, (F,) and (F, 2)."""
    found: np.ndarray
    """(F,) bool."""
    frame_width: int
    frame_height: int

    @staticmethod
    def of(points: np.ndarray, *, frame_width: int, frame_height: int) -> "FaceMeasures":
        """Measure landmarks (F, 68, 2) in pixels, NaN where the face was lost.

        Raises MetricError for another shape.
        """
        if points.ndim != 3 or points.shape[1:] != (68, 2):
            raise MetricError(f"Landmarks are {points.shape}, not (frames, 68, 2).", fix="Give 68 a frame.")
        return FaceMeasures(
            points=points,
            pose=head_pose(points, frame_width=frame_width, frame_height=frame_height),
            openings=openings(points),
            found=np.asarray(np.isfinite(points).all(axis=(1, 2))),
            frame_width=frame_width,
            frame_height=frame_height,
        )

    @staticmethod
    def of_track(track: FaceTrack) -> "FaceMeasures":
        """Measure what `detect_landmarks` found; its gaps must not be filled, or they count as found."""
        return FaceMeasures.of(track.points, frame_width=track.frame_width, frame_height=track.frame_height)

    def __len__(self) -> int:
        return len(self.found)

    @property
    def face_share(self) -> float:
        """The share of frames in which the face was found; NaN without frames."""
        return mean_of_known(self.found)


@dataclass(frozen=True, slots=True)
class FrameErrors:
    """Each frame's errors, float64, NaN in frames that are left out."""

    face: np.ndarray
    """(F,) distance of the 68 points, in outer eye distances."""
    mouth: np.ndarray
    """(F,) distance of the 20 points of the mouth, in outer eye distances."""
    face_lmd_px: np.ndarray
    """(F,) LMD of the 68 points."""
    mouth_lmd_px: np.ndarray
    """(F,) LMD of the mouth's points."""
    pose_degrees: np.ndarray
    """(F, 3) absolute differences of yaw, pitch and roll."""
    eyes_open: np.ndarray
    """(F, 2) absolute differences of the eyes' height over width, left and right in the picture."""
    mouth_open: np.ndarray
    """(F,) absolute difference of the gap between the inner lips, in outer eye distances."""


@dataclass(frozen=True, slots=True)
class FaceErrors:
    """A generated clip against the real one; NaN where there is nothing to take a number of.

    Equal faces have errors of 0 and correlations of 1.
    """

    face: float
    """Mean distance of the 68 points in outer eye distances: the normalised mean error of face alignment
    (300-W), but with one distance a clip, the median of the real face's, since it shrinks as a head turns."""
    mouth: float
    """The same of points 48 to 67."""
    face_lmd_px: float
    """Mean distance in pixels of the 68 points less each face's own mean point: shape without place."""
    mouth_lmd_px: float
    """LMD as the RAD-NeRF family takes it: that of points 48 to 67, less the mean point of each mouth."""
    pose_degrees: float
    """Mean absolute difference of yaw, pitch and roll, the three together."""
    yaw_degrees: float
    pitch_degrees: float
    roll_degrees: float
    eyes_open: float
    """Mean absolute difference of the eyes' height over width, both eyes together."""
    mouth_open: float
    """Mean absolute difference of the gap between the inner lips, in outer eye distances."""
    eyes_open_correlation: float
    """Over time, of the mean of both eyes; NaN where either does not move at all."""
    mouth_open_correlation: float
    """Over time; NaN where either mouth does not move at all."""
    yaw_correlation: float
    """Over time; NaN where either head does not turn at all."""
    mouth_amplitude_ratio: float
    """Standard deviation of the generated mouth's opening over that of the real one's."""
    real_face_share: float
    """Share of the real frames in which a face was found."""
    generated_face_share: float
    """Share of the generated frames in which a face was found."""
    frames: int
    compared_frames: int
    """Frames with a face in both; every number but the shares is of these."""
    per_frame: FrameErrors


def compare_faces(real: FaceMeasures, generated: FaceMeasures) -> FaceErrors:
    """The errors of a generated clip's face, frame by frame against the real clip's.

    Raises MetricError where the clips differ in length or in the size of their frames.
    """
    _require_comparable(real, generated)
    both = real.found & generated.found
    errors = _frame_errors(real, generated, both=both)
    mouths = [_where(both, faces.openings.mouth_open) for faces in (real, generated)]
    eyes = [_where(both, faces.openings.eyes_open).mean(axis=-1) for faces in (real, generated)]
    yaw_degrees, pitch_degrees, roll_degrees = (mean_of_known(axis) for axis in errors.pose_degrees.T)
    return FaceErrors(
        face=mean_of_known(errors.face),
        mouth=mean_of_known(errors.mouth),
        face_lmd_px=mean_of_known(errors.face_lmd_px),
        mouth_lmd_px=mean_of_known(errors.mouth_lmd_px),
        pose_degrees=mean_of_known(errors.pose_degrees),
        yaw_degrees=yaw_degrees,
        pitch_degrees=pitch_degrees,
        roll_degrees=roll_degrees,
        eyes_open=mean_of_known(errors.eyes_open),
        mouth_open=mean_of_known(errors.mouth_open),
        eyes_open_correlation=correlation(*eyes),
        mouth_open_correlation=correlation(*mouths),
        yaw_correlation=correlation(_where(both, real.pose)[:, 0], _where(both, generated.pose)[:, 0]),
        mouth_amplitude_ratio=ratio(deviation_of_known(mouths[1]), deviation_of_known(mouths[0])),
        real_face_share=real.face_share,
        generated_face_share=generated.face_share,
        frames=len(real),
        compared_frames=int(both.sum()),
        per_frame=errors,
    )


def outer_eye_distance_px(points: np.ndarray) -> float:
    """The median over the frames of the distance between the outer corners of the eyes: (F, 68, 2).

    NaN where no frame has a face, or its eyes are in one place.
    """
    left, right = (points[:, corner].astype(np.float64) for corner in OUTER_EYE_CORNERS)
    distances = np.linalg.norm(right - left, axis=-1)
    known = distances[np.isfinite(distances)]
    median = float(np.median(known)) if known.size else np.nan
    return median if median > 0 else np.nan


def _require_comparable(real: FaceMeasures, generated: FaceMeasures) -> None:
    if len(real) != len(generated):
        raise MetricError(
            f"There are {len(real)} real and {len(generated)} generated frames.",
            fix="Cut both to the same length.",
        )
    if (real.frame_width, real.frame_height) != (generated.frame_width, generated.frame_height):
        raise MetricError(
            f"The real frames have {real.frame_width}x{real.frame_height} pixels, the generated ones "
            f"{generated.frame_width}x{generated.frame_height}.",
            fix="Resize one of them before the landmarks are found.",
        )


def _frame_errors(real: FaceMeasures, generated: FaceMeasures, *, both: np.ndarray) -> FrameErrors:
    a, b = (_where(both, faces.points) for faces in (real, generated))
    eye_px = outer_eye_distance_px(a)
    mouth_a, mouth_b = a[:, list(MOUTH)], b[:, list(MOUTH)]
    return FrameErrors(
        face=_apart(a, b) / eye_px,
        mouth=_apart(mouth_a, mouth_b) / eye_px,
        face_lmd_px=_apart(_centred(a), _centred(b)),
        mouth_lmd_px=_apart(_centred(mouth_a), _centred(mouth_b)),
        pose_degrees=_turn_between(_where(both, real.pose), _where(both, generated.pose)),
        eyes_open=_difference(_where(both, real.openings.eyes_open), generated.openings.eyes_open),
        mouth_open=_difference(_where(both, real.openings.mouth_open), generated.openings.mouth_open),
    )


def _where(frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (F, ...) as float64, NaN in the frames that are not among `frames` (F,) bool."""
    kept = values.astype(np.float64)
    kept[~frames] = np.nan
    return kept


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The mean distance of P points: (F, P, 2) twice -> (F,)."""
    return np.asarray(np.linalg.norm(b - a, axis=-1).mean(axis=-1))


def _centred(points: np.ndarray) -> np.ndarray:
    return np.asarray(points - points.mean(axis=1, keepdims=True))


def _turn_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Absolute differences of angles of -180 to 180 degrees, the short way round."""
    around = np.abs(b - a)
    return np.asarray(np.minimum(around, TURN_DEGREES - around))


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Absolute differences; NaN where one is infinite (an eye seen edge on)."""
    known = np.isfinite(a) & np.isfinite(b)
    return np.where(known, np.abs(np.where(known, b, 0.0) - np.where(known, a, 0.0)), np.nan)
