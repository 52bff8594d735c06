"""How a clip moves, looked at by itself: jitter and flicker, and how far mouth and head go.

Nothing of this is in the paper. A real clip has jitter, flicker and amplitudes of its own: what counts is how
near the generated one's are. Second differences are taken from frame to frame, so that both are comparable
between clips of one rate only.

Shape legend:
    F frames   H, W height and width   68 points in iBUG order
"""

from dataclasses import dataclass

import numpy as np
from einops import rearrange

from megactor_core.errors import MetricError
from megactor_core.faces.regions import LUMA
from megactor_core.metrics.frames import require_frames
from megactor_core.metrics.geometry import FaceMeasures, outer_eye_distance_px
from megactor_core.metrics.statistics import deviation_of_known, joint_deviation, mean_of_known


@dataclass(frozen=True, slots=True)
class Motion:
    """Numbers of one clip; NaN where too few frames show a face."""

    jitter: float
    """Mean of `landmark_jitter`, in outer eye distances."""
    mouth_amplitude: float
    """Standard deviation over time of the gap between the inner lips, in outer eye distances: 0.03 to
    0.07 in real clips of speech."""
    head_turn_degrees: float
    """Standard deviation over time of yaw, pitch and roll, the root of the sum of the three squares."""
    head_shift: float
    """Standard deviation over time of the place of the points' mean, in outer eye distances: the root of the
    sum of the squares of x and y."""


def measure_motion(faces: FaceMeasures) -> Motion:
    """How a face moves; frames without it are left out."""
    return Motion(
        jitter=mean_of_known(landmark_jitter(faces.points)),
        mouth_amplitude=mouth_amplitude(faces),
        head_turn_degrees=head_turn_degrees(faces),
        head_shift=head_shift(faces),
    )


def landmark_jitter(points: np.ndarray) -> np.ndarray:
    """How far landmarks shake, frame by frame: (F, 68, 2) pixels -> (F,) in outer eye distances.

    The second difference p[i - 1] - 2 p[i] + p[i + 1] over time, its length's mean over the points, over the
    clip's median outer eye distance: 0 for what stands or moves evenly. NaN at both ends of the clip, and
    where one of the three frames has no face.
    """
    jitter = np.full(len(points), np.nan)
    if len(points) >= 3:
        shake = np.diff(points.astype(np.float64), n=2, axis=0)
        jitter[1:-1] = np.linalg.norm(shake, axis=-1).mean(axis=-1) / outer_eye_distance_px(points)
    return jitter


def mouth_amplitude(faces: FaceMeasures) -> float:
    """Standard deviation of the mouth's opening over the frames with a face, in outer eye distances."""
    return deviation_of_known(faces.openings.mouth_open)


def head_turn_degrees(faces: FaceMeasures) -> float:
    """Standard deviation of the head's pose, all three angles together; frames without a face left out."""
    return joint_deviation(faces.pose)


def head_shift(faces: FaceMeasures) -> float:
    """Standard deviation of the place of the points' mean, in outer eye distances."""
    return joint_deviation(faces.points.mean(axis=1)) / outer_eye_distance_px(faces.points)


class FlickerMeter:
    """How much of a picture changes that should be still; frames come one by one, three are kept.

    The median over all pixels of the absolute second difference over time of the luma, in grey levels of
    0..255: 0 where more than half of the picture stands, or brightens evenly, whatever moves in the rest. A
    face that fills the picture and moves counts: real clips have 0.05 to 4. White noise of standard deviation
    s, new in every frame, adds up to 1.65 s.
    """

    def __init__(self) -> None:
        self._lumas: list[np.ndarray] = []
        self._values: list[float] = []
        self._frames = 0

    def add(self, frame: np.ndarray) -> None:
        """Take in the next (H, W, 3) uint8 RGB frame. Raises MetricError for another kind or size."""
        require_frames(rearrange(frame, "... -> 1 ..."), name="The frames to measure flicker of")
        if self._lumas and self._lumas[-1].shape != frame.shape[:2]:
            height, width = self._lumas[-1].shape
            raise MetricError(
                f"Frame {self._frames} is {frame.shape[1]}x{frame.shape[0]}, those before it are "
                f"{width}x{height}.",
                fix="Give frames of one size.",
            )
        self._frames += 1
        self._lumas = [*self._lumas[-2:], luma(frame)]
        if len(self._lumas) == 3:
            before, now, after = self._lumas
            self._values.append(float(np.median(np.abs(before - 2 * now + after))))

    def per_frame(self) -> np.ndarray:
        """Each frame's flicker, (F,) float64; NaN for the first and the last frame."""
        flicker = np.full(self._frames, np.nan)
        flicker[1 : 1 + len(self._values)] = self._values
        return flicker

    def mean(self) -> float:
        """Over the frames so far; NaN where fewer than three."""
        return mean_of_known(self.per_frame())


def luma(frame: np.ndarray) -> np.ndarray:
    """Grey levels of an RGB frame, weighted as in the driving picture: (H, W, 3) uint8 -> (H, W) float32."""
    return np.asarray(np.einsum("hwc,c->hw", frame, np.array(LUMA, dtype=np.float32), dtype=np.float32))
