"""Face detection and a 468-point mesh from MediaPipe's published models, run by the LiteRT interpreter.

Two networks: BlazeFace (a short-range model on 128 px, a full-range model on 192 px) gives boxes and the
eyes' places; the face mesh (192 px) gives 468 points inside a square, upright region. The region comes from
a detection, or, much cheaper, from the same face's mesh in the frame before. Constants (anchors, thresholds,
region scale) are the ones in MediaPipe's published graphs; the reduction to 68 points is this project's.
Every network runs on one thread, so results do not depend on the machine's core count.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from megactor_core import weights
from megactor_core.errors import WeightsError
from megactor_core.faces.boxes import SAME_FACE_IOU, box_of, distance, extent, iou, plausible_move
from megactor_core.faces.crop import warp_image
from megactor_core.terminal import native_log_silenced

WEIGHTS_NAME = "mediapipe-face"
DETECTION_SCORE = 0.5
MESH_SCORE = 0.5
NMS_IOU = 0.3
REGION_SCALE = 1.5
MESH_SIZE_PX = 192
MESH_RIGHT_EYE_OUTER, MESH_LEFT_EYE_OUTER = 33, 263
WIDER_LOOKS = (1.0, 1.4, 1.7)
"""Where the mesh is sure of no face, each detected one is looked for in squares of these sides, in multiples
of the usual one (not in the paper): a face of a dozen pixels may be missed in one, and sure in the next."""
MAX_LOOKS = 4
STEADY_SHIFT = 0.08
"""A followed face that is off its region's middle by more than this share of its size is looked at again, so
often at most (not in the paper)."""
TILE_SHARES = (1.0, 0.6)
TILE_STEP = 0.7
"""Sides of the search tiles for small faces as shares of the picture's short side, and their distance as a
share of their own side (not in the paper): finds faces down to about 4 % of the short side."""

# iBUG point -> the mesh points whose mean it is. Subject's right is the picture's left. Jaw points are spread
# evenly along the mesh's outline from temple to chin, nose points evenly from the nasion to the tip, and brow
# points lie between the mesh's upper and lower row.
_MESH_OF_POINT: tuple[tuple[int, ...], ...] = (
    *((127,), (234,), (93, 132), (132, 58), (58, 172), (136,), (150, 149), (176, 148)),  # jaw, right
    (152,),  # chin
    *((400, 377), (379, 378), (365,), (288, 397), (361, 288), (323, 361), (454,), (356,)),  # jaw, left
    *((70, 46), (63, 53), (105, 52), (66, 65), (107, 55)),  # right brow, outer to inner
    *((336, 285), (296, 295), (334, 282), (293, 283), (300, 276)),  # left brow, inner to outer
    *((168, 6), (197,), (195, 5), (4,)),  # nose bridge, down to the tip
    *((98,), (97,), (2,), (326,), (327,)),  # nostrils
    *((33,), (160,), (158,), (133,), (153,), (144,)),  # right eye, clockwise from its outer corner
    *((362,), (385,), (387,), (263,), (373,), (380,)),  # left eye, clockwise from its inner corner
    *((61,), (39, 40), (37,), (0,), (267,), (269, 270), (291,)),  # outer lips, upper
    *((321, 405), (314,), (17,), (84,), (91, 181)),  # outer lips, lower, back to the right corner
    *((78,), (81,), (13,), (311,), (308,), (402,), (14,), (178,)),  # inner lips
)
_FIRST_OF_POINT = np.array([indices[0] for indices in _MESH_OF_POINT])
_LAST_OF_POINT = np.array([indices[-1] for indices in _MESH_OF_POINT])


@dataclass(frozen=True, slots=True)
class Region:
    """A rotated square in a picture: centre and side in pixels, clockwise angle in radians."""

    x: float
    y: float
    side: float
    angle: float

    def widened(self, by: float) -> "Region":
        """The same with so many times the side."""
        return replace(self, side=self.side * by)

    def to_matrix(self, size_px: int) -> np.ndarray:
        """The (2, 3) map from picture points to points of the region drawn at `size_px` pixels."""
        scale = size_px / self.side
        cos, sin = scale * np.cos(self.angle), scale * np.sin(self.angle)
        middle = (size_px - 1) / 2
        shift_x = middle - cos * self.x - sin * self.y
        shift_y = middle + sin * self.x - cos * self.y
        return np.array([[cos, sin, shift_x], [-sin, cos, shift_y]], dtype=np.float64)

    def to_image(self, points: np.ndarray, size_px: int) -> np.ndarray:
        """Map (N, 2) points of the region drawn at `size_px` pixels back into the picture."""
        scale = self.side / size_px
        centred = (points - (size_px - 1) / 2) * scale
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        rotation = np.array([[cos, sin], [-sin, cos]])
        return centred @ rotation + np.array([self.x, self.y])


@dataclass(frozen=True, slots=True)
class Detection:
    """A detected face: box (x0, y0, x1, y1) and eye centres (2, 2) in pixels, score in [0, 1]."""

    box: np.ndarray
    eyes: np.ndarray
    score: float


@dataclass(frozen=True, slots=True)
class MeshFace:
    """A face's 468 mesh points (468, 2) in pixels and the network's confidence that it is a face."""

    mesh: np.ndarray
    score: float

    @property
    def box(self) -> np.ndarray:
        """x0, y0, x1, y1 of the mesh."""
        return box_of(self.mesh)

    @property
    def points(self) -> np.ndarray:
        """The 68 iBUG points, (68, 2) float32."""
        return ((self.mesh[_FIRST_OF_POINT] + self.mesh[_LAST_OF_POINT]) / 2).astype(np.float32)


class MediaPipeFaces:
    """The three networks, loaded once; not to be shared between threads (see `back_end`)."""

    def __init__(self, folder: Path) -> None:
        self._short_range = _Detector(
            folder / "face_detection_short_range.tflite", size_px=128, layers=_SHORT
        )
        self._full_range = _Detector(
            folder / "face_detection_full_range_sparse.tflite", size_px=192, layers=_FULL
        )
        self._mesh = _Network(folder / "face_landmark.tflite")

    def step(
        self, image: np.ndarray, known: Sequence[MeshFace], *, thorough: bool
    ) -> tuple[list[MeshFace | None], list[MeshFace]]:
        """Follow the faces of the frame before and look for new ones.

        Returns, for each face of `known`, where it is now (None where it was lost), and the new faces. With
        nothing followed the search goes further: the full-range model and, if `thorough`, tiles for small
        faces, which take ten times as long.
        """
        followed = _without_doubles(known, [self._follow(image, face) for face in known])
        present = [face for face in followed if face is not None]
        found = self._mesh_all(image, self._short_range.detect(image, _whole(image)), present)
        if not present:
            found += self._mesh_all(image, self._full_range.detect(image, _whole(image)), found)
            if not found and thorough:
                found = self._search_tiles(image)
        return followed, found

    def _follow(self, image: np.ndarray, face: MeshFace) -> MeshFace | None:
        """Where the face is now, looking where it was; once more wherever it turns out to be far from there.

        A face off the middle of its region pulls the mesh towards the middle: a quick head would be lagged
        behind, and finally lost.
        """
        now = face
        for _ in range(MAX_LOOKS):
            before, seen = now, self._run_mesh(image, _region_of_mesh(now.mesh))
            if seen is None or not plausible_move(face.box, seen.box):
                return None
            now = seen
            if distance(before.box, now.box) <= STEADY_SHIFT * extent(now.box):
                break
        return now

    def _mesh_all(
        self,
        image: np.ndarray,
        detections: Sequence[Detection],
        present: Sequence[MeshFace],
        *,
        look: Callable[[np.ndarray, Detection], MeshFace | None] | None = None,
    ) -> list[MeshFace]:
        """The meshes of the detections that are faces and not among `present`."""
        look = look or self._mesh_of_detection
        found: list[MeshFace] = []
        for detection in detections:
            taken = [face.box for face in (*present, *found)]
            if any(iou(detection.box, box) > SAME_FACE_IOU for box in taken):
                continue
            face = look(image, detection)
            if face is not None and not any(iou(face.box, box) > SAME_FACE_IOU for box in taken):
                found.append(face)
        return found

    def _mesh_of_detection(self, image: np.ndarray, detection: Detection) -> MeshFace | None:
        first = self._run_mesh(image, _region_of_detection(detection))
        if first is None:
            return None
        # A second look through the mesh's own region, so that a fresh face and a followed one agree.
        return self._run_mesh(image, _region_of_mesh(first.mesh))

    def _mesh_of_wider_looks(self, image: np.ndarray, detection: Detection) -> MeshFace | None:
        """The last resort: the first look that shows a face, improved by a second where that shows it too."""
        region = _region_of_detection(detection)
        looks = (self._run_mesh(image, region.widened(by)) for by in WIDER_LOOKS)
        first = next((face for face in looks if face is not None), None)
        return None if first is None else self._run_mesh(image, _region_of_mesh(first.mesh)) or first

    def _run_mesh(self, image: np.ndarray, region: Region) -> MeshFace | None:
        crop = warp_image(image, region.to_matrix(MESH_SIZE_PX), size_px=MESH_SIZE_PX, border="replicate")
        points, logit = self._mesh.run(crop.astype(np.float32) / 255)
        score = float(_sigmoid(logit.reshape(())))
        if score < MESH_SCORE:
            return None
        flat = points.reshape(468, 3)[:, :2].astype(np.float64) - 0.5
        return MeshFace(mesh=region.to_image(flat, MESH_SIZE_PX), score=score)

    def _search_tiles(self, image: np.ndarray) -> list[MeshFace]:
        """Search overlapping square tiles, large ones first, until one size of them shows a face.

        Where none does, look more widely at what was detected in any.
        """
        seen: list[Detection] = []
        for share in TILE_SHARES:
            detections = [d for tile in _tiles(image, share) for d in self._full_range.detect(image, tile)]
            detections.sort(key=lambda detection: -detection.score)
            if found := self._mesh_all(image, detections, []):
                return found
            seen += detections
        seen.sort(key=lambda detection: -detection.score)
        return self._mesh_all(image, seen, [], look=self._mesh_of_wider_looks)


_LOADED = threading.local()


def back_end() -> MediaPipeFaces:
    """This thread's networks, loaded on first use from the weights cache.

    Raises WeightsError that names `megactor weights pull mediapipe-face` where they are missing or damaged.
    """
    folder = weights.find(WEIGHTS_NAME)
    if getattr(_LOADED, "folder", None) != folder:
        _LOADED.networks, _LOADED.folder = MediaPipeFaces(folder), folder
    networks: MediaPipeFaces = _LOADED.networks
    return networks


# ---------------------------------------------------------------- networks


class _Network:
    """One model file; inputs (H, W, 3) float32, outputs as the file orders them."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            with native_log_silenced():
                self._interpreter: Any = Interpreter(model_path=str(path), num_threads=1)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise WeightsError(
                f"The face model '{path}' cannot be loaded ({error}).",
                fix=f"Delete it and run `megactor weights pull {WEIGHTS_NAME}`.",
            ) from None
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        self._interpreter.set_tensor(self._input, image[np.newaxis])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


# (stride in pixels, anchors per cell) of each output layer.
_SHORT = ((8, 2), (16, 6))
_FULL = ((4, 1),)


class _Detector:
    """A BlazeFace model with its anchors."""

    def __init__(self, path: Path, *, size_px: int, layers: Sequence[tuple[int, int]]) -> None:
        self._network = _Network(path)
        self._size_px = size_px
        self._anchors = _anchors(size_px, layers)

    def detect(self, image: np.ndarray, region: Region) -> list[Detection]:
        """The faces in a region of the picture, best first, in picture coordinates."""
        crop = warp_image(image, region.to_matrix(self._size_px), size_px=self._size_px, border="black")
        values, logits = self._network.run(crop.astype(np.float32) / 127.5 - 1)
        scores = _sigmoid(logits.reshape(-1).astype(np.float64))
        sure = scores >= DETECTION_SCORE
        points = self._decode(values.reshape(len(scores), 16).astype(np.float64)[sure], self._anchors[sure])
        points = region.to_image(points.reshape(-1, 2), self._size_px).reshape(-1, 4, 2)
        return _merge_overlapping(points, scores[sure])

    def _decode(self, values: np.ndarray, anchors: np.ndarray) -> np.ndarray:
        """Raw values (K, 16) -> (K, 4, 2): box corners and eye centres, in pixels of the network's input."""
        centres = values[:, 0:2] + anchors
        half = values[:, 2:4] / 2
        eyes = values[:, 4:8].reshape(-1, 2, 2) + anchors[:, np.newaxis]
        corners = np.stack([centres - half, centres + half], axis=1)
        return np.concatenate([corners, eyes], axis=1) - 0.5


def _anchors(size_px: int, layers: Sequence[tuple[int, int]]) -> np.ndarray:
    """Anchor centres (N, 2) in pixels: cell centres of each layer, row by row, each repeated."""
    grids = []
    for stride, per_cell in layers:
        centres = (np.arange(size_px // stride) + 0.5) * stride
        y, x = np.meshgrid(centres, centres, indexing="ij")
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    return np.concatenate(grids)


def _merge_overlapping(points: np.ndarray, scores: np.ndarray) -> list[Detection]:
    """Blend every cluster of overlapping detections into one, weighted by score."""
    order = np.argsort(-scores, kind="stable")
    points, scores = points[order], scores[order]
    merged = []
    while len(scores):
        boxes = points[:, :2].reshape(-1, 4)
        same = np.array([iou(boxes[0], box) > NMS_IOU for box in boxes])
        same[0] = True
        mean = np.average(points[same], axis=0, weights=scores[same])
        merged.append(Detection(box=mean[:2].reshape(4), eyes=mean[2:], score=float(scores[0])))
        points, scores = points[~same], scores[~same]
    return merged


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.clip(x, -100, 100)))


# ---------------------------------------------------------------- geometry


def _region_of_detection(detection: Detection) -> Region:
    x0, y0, x1, y1 = detection.box
    along = detection.eyes[1] - detection.eyes[0]
    return Region(
        x=float(x0 + x1) / 2,
        y=float(y0 + y1) / 2,
        side=float(max(x1 - x0, y1 - y0)) * REGION_SCALE,
        angle=float(np.arctan2(along[1], along[0])),
    )


def _region_of_mesh(mesh: np.ndarray) -> Region:
    """The upright square round a mesh: measured along the eye line, so that a tilted head fits as well."""
    along = mesh[MESH_LEFT_EYE_OUTER] - mesh[MESH_RIGHT_EYE_OUTER]
    angle = float(np.arctan2(along[1], along[0]))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, -sin], [sin, cos]])
    upright = mesh @ rotation
    low, high = upright.min(axis=0), upright.max(axis=0)
    x, y = rotation @ ((low + high) / 2)
    return Region(x=float(x), y=float(y), side=float((high - low).max()) * REGION_SCALE, angle=angle)


def _without_doubles(known: Sequence[MeshFace], followed: Sequence[MeshFace | None]) -> list[MeshFace | None]:
    """Where two followed faces ended on one, keep it for the one that moved less."""
    kept = list(followed)
    steadiness = [0.0 if now is None else iou(was.box, now.box) for was, now in zip(known, kept, strict=True)]
    for i in sorted(range(len(kept)), key=lambda index: steadiness[index]):
        others = [face for j, face in enumerate(kept) if j != i and face is not None]
        face = kept[i]
        if face is not None and any(iou(face.box, other.box) > SAME_FACE_IOU for other in others):
            kept[i] = None
    return kept


def _whole(image: np.ndarray) -> Region:
    """The square about the whole picture."""
    height, width = image.shape[:2]
    return Region(x=(width - 1) / 2, y=(height - 1) / 2, side=max(width, height), angle=0.0)


def _tiles(image: np.ndarray, share: float) -> list[Region]:
    """Overlapping squares that cover the picture; their side is a share of its short side."""
    height, width = image.shape[:2]
    side = max(min(width, height) * share, 1.0)
    columns = _tile_centres(width, side)
    rows = _tile_centres(height, side)
    return [Region(x=x, y=y, side=side, angle=0.0) for y in rows for x in columns]


def _tile_centres(length_px: int, side: float) -> list[float]:
    count = max(1, int(np.ceil((length_px - side) / (TILE_STEP * side))) + 1)
    return [float(x) for x in np.linspace(side / 2 - 0.5, length_px - side / 2 - 0.5, count)]
