"""What a synthetic head does: pose and expression at one moment, and over the frames of a clip."""

from dataclasses import astuple, dataclass, fields

import numpy as np


@dataclass(frozen=True, slots=True)
class FaceState:
    """Pose and expression of one frame; the defaults are a neutral face that looks at the camera.

    Angles as `faces.headpose` gives them: yaw to the picture's right, pitch up, roll clockwise as seen.
    """

    yaw_degrees: float = 0.0
    pitch_degrees: float = 0.0
    roll_degrees: float = 0.0
    shift_x: float = 0.0
    """Head to the picture's right, as a share of the picture's side."""
    shift_y: float = 0.0
    """Head downwards, as a share of the picture's side."""
    scale: float = 1.0
    mouth_open: float = 0.0
    """Jaw: 0 closed, 1 as wide as an `a`."""
    mouth_wide: float = 0.0
    """Lips: -1 rounded as in `u`, 0 at rest, 1 spread as in `i`."""
    smile: float = 0.0
    """Corners of the mouth: -1 down, 1 up."""
    eye_open: float = 1.0
    """0 closed, 1 open."""
    gaze_x: float = 0.0
    """-1 to the picture's left, 1 to its right."""
    gaze_y: float = 0.0
    """-1 up, 1 down."""
    brow: float = 0.0
    """-1 lowered, 1 raised."""


TRACKS = tuple(field.name for field in fields(FaceState))
"""The names of the tracks, in the order of a performance's columns."""


@dataclass(frozen=True, slots=True)
class Performance:
    """F frames of pose and expression: tracks (F, 13) float64, columns as in TRACKS."""

    tracks: np.ndarray
    video_fps: float

    def __len__(self) -> int:
        return len(self.tracks)

    def state(self, frame: int) -> FaceState:
        """Pose and expression of one frame."""
        return FaceState(*(float(value) for value in self.tracks[frame]))

    def track(self, name: str) -> np.ndarray:
        """One track by its name in FaceState, (F,)."""
        return self.tracks[:, TRACKS.index(name)]

    @staticmethod
    def of(states: list[FaceState], *, video_fps: float) -> "Performance":
        """The performance of a list of states."""
        return Performance(np.array([astuple(state) for state in states], dtype=np.float64), video_fps)
