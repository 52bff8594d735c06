"""The 68 facial landmarks of a picture, and of one face followed through a clip.

Points are in iBUG-68 order: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67, counted from the
picture's left (the subject's right). Coordinates are pixels with whole numbers at pixel centres.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from megactor_core import weights
from megactor_core.errors import FaceError, MediaError
from megactor_core.faces import dwpose, mediapipe
from megactor_core.faces.boxes import distance, extent, growth
from megactor_core.faces.crop import require_rgb_image
from megactor_core.weights_sources import ProgressCallback

BackEndName = Literal["mediapipe", "dwpose"]
FaceChoice = Literal["largest"] | int

POINT_COUNT = 68
REACH = 0.75
REACH_PER_LOST_FRAME = 0.1
MAX_REACH = 3.0
"""A lost face is taken up again within REACH (growing by the frame, up to MAX_REACH) of its own size from
where it was last seen; what turns up further away is somebody else (not in the paper)."""
MAX_REGROWTH = 2.0
THOROUGH_EVERY = 5
"""Frames between two searches for small faces while no face is in sight (not in the paper)."""


@dataclass(frozen=True, slots=True)
class Face:
    """One face: points (68, 2) float32, score in [0, 1], and the box x0, y0, x1, y1 of the points."""

    points: np.ndarray
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """One face followed through F frames of one size.

    points (F, 68, 2) float32, NaN where the face was lost; found (F,) bool; scores (F,) float32, 0 where
    lost; faces_in_frame (F,) int64, every face seen in the frame, the followed one included.
    """

    points: np.ndarray
    found: np.ndarray
    scores: np.ndarray
    faces_in_frame: np.ndarray
    frame_width: int
    frame_height: int


class SeenFace(Protocol):
    """A face as a back end sees it: 68 points, a score in [0, 1], and the box of all that it knows of it."""

    @property
    def points(self) -> np.ndarray: ...

    @property
    def score(self) -> float: ...

    @property
    def box(self) -> np.ndarray: ...


class BackEnd(Protocol):
    """What finds faces; its faces are SeenFaces of its own kind."""

    def step(
        self, image: np.ndarray, known: Sequence[Any], *, thorough: bool
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        """Where each face of `known`, seen in the frame before, is now (or None); and the new faces.

        Where nothing is known a cheap search is enough unless it is to be `thorough`.
        """


def prepare(back_end: BackEndName, *, on_progress: ProgressCallback | None = None) -> None:
    """Get a back end's models where they are not there yet.

    Raises UsageError, before anything is fetched, where its package is not installed, WeightsError where the
    models cannot be had.
    """
    match back_end:
        case "mediapipe":
            weights.pull(mediapipe.WEIGHTS_NAME, on_progress=on_progress)
        case "dwpose":
            dwpose.require_runtime()
            weights.pull(dwpose.WEIGHTS_NAME, on_progress=on_progress)


def detect_faces(image: np.ndarray, *, back_end: BackEndName = "mediapipe") -> list[Face]:
    """All faces in an (H, W, 3) uint8 RGB picture, largest first; an empty list where there is none.

    Raises MediaError for another kind of array, WeightsError where the back end's weights are missing,
    UsageError where its package is.
    """
    require_rgb_image(image)
    _, found = _load(back_end).step(image, [], thorough=True)
    return sorted((_to_face(face) for face in found), key=_area, reverse=True)


def detect_landmarks(
    frames: Iterable[np.ndarray],
    *,
    face: FaceChoice = "largest",
    back_end: BackEndName = "mediapipe",
    on_frame: Callable[[int], None] | None = None,
) -> FaceTrack:
    """Find one face's 68 landmarks in every frame, in one pass and constant memory.

    frames: (H, W, 3) uint8 RGB pictures of one size. face: the largest, or the N-th largest (from 0), in the
    first frame that shows a face; that face is then followed and never exchanged for another. on_frame is
    called with the number of frames done. A clip without any face gives a track with `found` all False.
    A first frame with a single face needs no choice.
    Raises FaceError where that frame shows several faces but fewer than `face` asks for, MediaError for no
    frames or frames of unequal size, WeightsError where the back end's weights are missing, UsageError where
    its package is.
    """
    tracker = LandmarkTracker(face=face, back_end=back_end)
    for done, frame in enumerate(frames, start=1):
        tracker.advance(frame)
        if on_frame is not None:
            on_frame(done)
    return tracker.to_track()


class LandmarkTracker:
    """`detect_landmarks` for frames that are handed over one at a time, and go elsewhere too.

    Raises FaceError for a negative `face`, and what `detect_landmarks` raises when a frame is given.
    """

    def __init__(self, *, face: FaceChoice = "largest", back_end: BackEndName = "mediapipe") -> None:
        rank = 0 if face == "largest" else face
        if rank < 0:
            raise FaceError(f"The face to follow is {rank}, but faces are counted from 0 (the largest).")
        self._follower = _Follower(_load(back_end), rank=rank)
        self._frames = self._width = self._height = 0

    def advance(self, frame: np.ndarray) -> np.ndarray:
        """Look at the next frame, (H, W, 3) uint8; its points (68, 2) float32, NaN where the face is lost."""
        require_rgb_image(frame)
        if self._frames and frame.shape[:2] != (self._height, self._width):
            raise _unequal_frames(self._frames, frame, self._width, self._height)
        self._height, self._width = frame.shape[:2]
        self._frames += 1
        return self._follower.advance(frame)

    def to_track(self) -> FaceTrack:
        """The track over all frames so far; raises MediaError where there was none."""
        if not self._frames:
            raise MediaError("There are no frames to look for a face in.")
        return self._follower.to_track(frame_width=self._width, frame_height=self._height)


class _Follower:
    """Keeps the chosen face apart from the others that share the picture."""

    def __init__(self, networks: BackEnd, *, rank: int) -> None:
        self._networks = networks
        self._rank = rank
        self._target: SeenFace | None = None
        self._lost_frames = 0
        self._others: list[SeenFace] = []
        self._points: list[np.ndarray] = []
        self._scores: list[float] = []
        self._counts: list[int] = []

    def advance(self, frame: np.ndarray) -> np.ndarray:
        """Look at the next frame; its points, NaN where the face is lost."""
        following = [self._target] if self._target is not None and self._lost_frames == 0 else []
        thorough = len(self._counts) % THOROUGH_EVERY == 0
        moved, new = self._networks.step(frame, [*following, *self._others], thorough=thorough)
        now = moved[0] if following else None
        self._others = [face for face in moved[len(following) :] if face is not None]
        if now is None and new:
            now = self._choose(new) if self._target is None else self._recognise(new)
        self._others += [face for face in new if face is not now]
        self._record(now)
        return self._points[-1]

    def to_track(self, *, frame_width: int, frame_height: int) -> FaceTrack:
        points = np.stack(self._points).astype(np.float32)
        return FaceTrack(
            points=points,
            found=np.asarray(np.isfinite(points).all(axis=(1, 2))),
            scores=np.array(self._scores, dtype=np.float32),
            faces_in_frame=np.array(self._counts, dtype=np.int64),
            frame_width=frame_width,
            frame_height=frame_height,
        )

    def _choose(self, new: Sequence[SeenFace]) -> SeenFace:
        if len(new) == 1:  # nothing to choose from: the choice may be meant for another picture
            return new[0]
        if self._rank >= len(new):
            raise FaceError(
                f"Face {self._rank} was asked for (counted from 0), but frame {len(self._points)}, the first "
                f"with a face, shows {len(new)}.",
                fix=f"Ask for `largest`, or for 0 to {len(new) - 1}.",
            )
        return sorted(new, key=lambda face: _area(_to_face(face)), reverse=True)[self._rank]

    def _recognise(self, new: Sequence[SeenFace]) -> SeenFace | None:
        """The new face that can be the lost one: near enough, and of about its size."""
        assert self._target is not None
        last = self._target.box
        reach = min(REACH + REACH_PER_LOST_FRAME * self._lost_frames, MAX_REACH) * extent(last)
        near = [
            face
            for face in new
            if distance(face.box, last) <= reach and growth(face.box, last) <= MAX_REGROWTH
        ]
        return min(near, key=lambda face: distance(face.box, last), default=None)

    def _record(self, now: SeenFace | None) -> None:
        if now is None:
            self._lost_frames += 1
            self._points.append(np.full((POINT_COUNT, 2), np.nan, dtype=np.float32))
        else:
            self._target, self._lost_frames = now, 0
            self._points.append(now.points)
        self._scores.append(0.0 if now is None else now.score)
        self._counts.append(len(self._others) + (now is not None))


def _load(back_end: BackEndName) -> BackEnd:
    match back_end:
        case "mediapipe":
            return mediapipe.back_end()
        case "dwpose":
            return dwpose.back_end()


def _to_face(face: SeenFace) -> Face:
    points = face.points
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return Face(points=points, score=face.score, box=(float(x0), float(y0), float(x1), float(y1)))


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)


def _unequal_frames(index: int, frame: np.ndarray, width: int, height: int) -> MediaError:
    return MediaError(
        f"Frame {index} is {frame.shape[1]}x{frame.shape[0]}, but the frames before it are {width}x{height}.",
        fix="Give frames of one size.",
    )
