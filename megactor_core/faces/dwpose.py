"""The paper's landmark detector: YOLOX finds persons, DWPose 133 points of each; the face's 68 are used.

Both networks are ONNX files. Numbers, order of steps and coordinates are those of DWPose's published ONNX
pipeline [S], so that its results are reproduced; what counts as a face is the curation code's rule [R].
Pictures are RGB. Every frame is looked at afresh: what is found in it does not depend on the frames before,
so the detector, nine tenths of the work, runs on each.

Shape legend:
    B persons   A = 8400 cells of the detector's three grids   K = 133 points   X = 576, Y = 768 position bins
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from einops import rearrange

from megactor_core import weights
from megactor_core.errors import UsageError, WeightsError, first_line
from megactor_core.faces.boxes import SAME_FACE_IOU, box_of, distance, iou, plausible_move

WEIGHTS_NAME = "dwpose"
DETECTOR_NAME, POSE_NAME = "yolox_l.onnx", "dw-ll_ucoco_384.onnx"

DETECTOR_PX = 640
LETTERBOX_GREY = 114
STRIDES_PX = (8, 16, 32)
CELLS = sum((DETECTOR_PX // stride) ** 2 for stride in STRIDES_PX)
CLASSES, PERSON_CLASS = 80, 0
PERSON_SCORE = 0.3
NMS_IOU = 0.45

POSE_WIDTH_PX, POSE_HEIGHT_PX = 288, 384
PERSON_PADDING = 1.25
BINS_PER_PX = 2
POINTS = 133
FACE_POINTS = slice(23, 91)
RGB_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
RGB_STD = np.array([58.395, 57.12, 57.375], dtype=np.float32)

POINT_SCORE = 0.3
SURE_POINTS = 60
"""A face is found where this many of its 68 points reach POINT_SCORE [R]. The few others of a found face stay
where the network puts them (ours: every later step wants 68 points)."""


@dataclass(frozen=True, slots=True)
class PoseFace:
    """A person's face: points (68, 2) float32 in pixels, score in [0, 1], the mean of the points' scores."""

    points: np.ndarray
    score: float

    @property
    def box(self) -> np.ndarray:
        """x0, y0, x1, y1 of the points."""
        return box_of(self.points)


class DWPoseFaces:
    """The two networks; they may be shared between threads."""

    def __init__(self, folder: Path) -> None:
        self._detector = _Network(
            folder / DETECTOR_NAME,
            input_shape=(1, 3, DETECTOR_PX, DETECTOR_PX),
            output_shapes=[(1, CELLS, 5 + CLASSES)],
        )
        self._pose = _Network(
            folder / POSE_NAME,
            input_shape=(1, 3, POSE_HEIGHT_PX, POSE_WIDTH_PX),
            output_shapes=[(1, POINTS, BINS_PER_PX * px) for px in (POSE_WIDTH_PX, POSE_HEIGHT_PX)],
        )

    def step(
        self,
        image: np.ndarray,
        known: Sequence[PoseFace],
        *,
        thorough: bool,  # noqa: ARG002 - every search is a thorough one
    ) -> tuple[list[PoseFace | None], list[PoseFace]]:
        """Find the faces of a frame and tell which of them are those of the frame before.

        Returns, for each face of `known`, where it is now (None where it was lost), and the new faces.
        """
        seen = self._faces(image)
        successors = _successors(known, seen)
        followed = [None if index is None else seen[index] for index in successors]
        return followed, [face for index, face in enumerate(seen) if index not in successors]

    def _faces(self, image: np.ndarray) -> list[PoseFace]:
        faces = [self._face(image, person) for person in self._persons(image)]
        return _distinct([face for face in faces if face is not None])

    def _persons(self, image: np.ndarray) -> np.ndarray:
        """Boxes (B, 4) of the persons, surest first; the whole picture where there is none."""
        letterboxed, scale = _letterbox(image)
        (cells,) = self._detector.run(letterboxed.astype(np.float32))
        persons = _person_boxes(cells, scale=scale)
        if len(persons) == 0:
            return np.array([[0, 0, image.shape[1], image.shape[0]]], dtype=np.float64)
        return persons

    def _face(self, image: np.ndarray, person: np.ndarray) -> PoseFace | None:
        matrix = _pose_matrix(person)
        crop = cv2.warpAffine(image, matrix, (POSE_WIDTH_PX, POSE_HEIGHT_PX), flags=cv2.INTER_LINEAR)
        heat_x, heat_y = self._pose.run((crop - RGB_MEAN) / RGB_STD)
        points, scores = _peaks(heat_x[FACE_POINTS], heat_y[FACE_POINTS])
        if (scores >= POINT_SCORE).sum() < SURE_POINTS:
            return None
        in_picture = (points - matrix[:, 2]) / matrix[0, 0]
        return PoseFace(in_picture.astype(np.float32), score=float(np.clip(scores, 0, 1).mean()))


def back_end() -> DWPoseFaces:
    """The networks, loaded on first use from the weights cache.

    Raises UsageError where ONNX Runtime is not installed, WeightsError where the files are missing, damaged
    or not these networks.
    """
    require_runtime()
    return _load(weights.find(WEIGHTS_NAME))


def require_runtime() -> None:
    """Raise UsageError unless ONNX Runtime is installed."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"The landmark back end 'dwpose' needs onnxruntime, which cannot be imported ({error}).",
            fix="Run: pip install megactor[dwpose]",
        ) from None


@lru_cache(maxsize=1)
def _load(folder: Path) -> DWPoseFaces:
    return DWPoseFaces(folder)


# ---------------------------------------------------------------- networks


class _Network:
    """One ONNX file of known shapes, on CUDA where ONNX Runtime has it, else on the CPU."""

    def __init__(
        self, path: Path, *, input_shape: tuple[int, ...], output_shapes: list[tuple[int, ...]]
    ) -> None:
        import onnxruntime

        self._path = path
        self._output_shapes = output_shapes
        onnxruntime.set_default_logger_severity(3)  # errors only: it warns of every device that is not there
        usable = onnxruntime.get_available_providers()
        providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in usable]
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path),
                providers=providers,
                enable_fallback=0,  # which would print and try the same again
            )
        except Exception as error:  # its errors have no common base
            raise self._unusable(f"cannot be loaded ({first_line(error)})") from None
        given = self._session.get_inputs()[0]
        self._input: str = given.name
        if not _fits(given.shape, input_shape):
            raise self._unusable(f"takes {_shown(given.shape)}, but the network of this name {input_shape}")

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        """The outputs, without their batch axis, for a picture (H, W, 3) float32."""
        batch = np.ascontiguousarray(rearrange(image, "h w c -> 1 c h w"))
        try:
            outputs = self._session.run(None, {self._input: batch})
        except Exception as error:  # its errors have no common base
            raise self._unusable(f"does not run ({first_line(error)})") from None
        shapes = [output.shape for output in outputs]
        if shapes != self._output_shapes:
            raise self._unusable(f"gives {shapes}, but the network of this name {self._output_shapes}")
        return [output[0] for output in outputs]

    def _unusable(self, reason: str) -> WeightsError:
        return WeightsError(
            f"The pose model '{self._path}' {reason}.",
            fix=f"Delete it and run `megactor weights pull {WEIGHTS_NAME}`.",
        )


def _fits(shape: Sequence[int | str | None], expected: tuple[int, ...]) -> bool:
    """Whether a file's shape allows the expected one; an axis without a fixed size allows any."""
    fixed = [size if isinstance(size, int) else wanted for size, wanted in zip(shape, expected, strict=False)]
    return len(shape) == len(expected) and tuple(fixed) == expected


def _shown(shape: Sequence[int | str | None]) -> str:
    return f"({', '.join(str(size) for size in shape)})"


# ---------------------------------------------------------------- persons


def _letterbox(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture in the top left of a grey square (640, 640, 3) uint8, and its scale."""
    height, width = image.shape[:2]
    scale = min(DETECTOR_PX / height, DETECTOR_PX / width)
    size = max(1, int(width * scale)), max(1, int(height * scale))
    square = np.full((DETECTOR_PX, DETECTOR_PX, 3), LETTERBOX_GREY, dtype=np.uint8)
    square[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return square, scale


def _person_boxes(cells: np.ndarray, *, scale: float) -> np.ndarray:
    """The detector's output (A, 85) for a picture of that scale -> boxes (B, 4) float64, surest first."""
    scores = cells[:, 4] * cells[:, 5 + PERSON_CLASS]
    # [S] suppresses from 0.1 on and drops up to 0.3 later: the same, as a box suppresses only less sure ones.
    sure = np.flatnonzero(scores > PERSON_SCORE)
    sure = sure[np.argsort(-scores[sure], kind="stable")]
    corners, strides = _grid()
    values = cells[sure].astype(np.float64)
    centres = (values[:, 0:2] + corners[sure]) * strides[sure]
    half = np.exp(values[:, 2:4]) * strides[sure] / 2
    return _suppressed(np.concatenate([centres - half, centres + half], axis=1) / scale)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Column and row (A, 2) and stride in pixels (A, 1) of every cell, grid after grid, row by row."""
    cells, strides = [], []
    for stride in STRIDES_PX:
        count = DETECTOR_PX // stride
        y, x = np.divmod(np.arange(count**2), count)
        cells.append(np.stack([x, y], axis=1))
        strides.append(np.full((count**2, 1), stride))
    return np.concatenate(cells), np.concatenate(strides)


def _suppressed(boxes: np.ndarray) -> np.ndarray:
    """The boxes (B, 4), surest first, without those that overlap a surer one by more than NMS_IOU."""
    closed = boxes + np.array([0, 0, 1, 1])  # [S] counts both border pixels
    kept: list[int] = []
    for index in range(len(boxes)):
        if all(iou(closed[index], closed[other]) <= NMS_IOU for other in kept):
            kept.append(index)
    return boxes[kept]


# ---------------------------------------------------------------- pose


def _pose_matrix(person: np.ndarray) -> np.ndarray:
    """The (2, 3) map of a padded person box (4,) into the middle of the pose network's picture."""
    size = np.maximum(PERSON_PADDING * (person[2:] - person[:2]), 1.0)
    input_size = np.array([POSE_WIDTH_PX, POSE_HEIGHT_PX], dtype=np.float64)
    scale = (input_size / size).min()
    shift = input_size / 2 - scale * (person[:2] + person[2:]) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def _peaks(heat_x: np.ndarray, heat_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 2) in the network's pixels and scores (N,) of position bins (N, X) and (N, Y)."""
    points = np.stack([heat_x.argmax(axis=1), heat_y.argmax(axis=1)], axis=1) / BINS_PER_PX
    return points, np.minimum(heat_x.max(axis=1), heat_y.max(axis=1))


# ---------------------------------------------------------------- faces


def _distinct(faces: list[PoseFace]) -> list[PoseFace]:
    """Without the faces that two overlapping person boxes gave twice; the surer one stays."""
    kept: list[PoseFace] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(iou(face.box, other.box) <= SAME_FACE_IOU for other in kept):
            kept.append(face)
    return kept


def _successors(known: Sequence[PoseFace], seen: Sequence[PoseFace]) -> list[int | None]:
    """For each known face the index of the seen one that it has become, nearest pairs first."""
    pairs = sorted(
        (distance(was.box, now.box), i, j)
        for i, was in enumerate(known)
        for j, now in enumerate(seen)
        if plausible_move(was.box, now.box)
    )
    successors: list[int | None] = [None] * len(known)
    for _, i, j in pairs:
        if successors[i] is None and j not in successors:
            successors[i] = j
    return successors
