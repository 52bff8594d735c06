"""A synthetic talking head: pictures of an identity in any pose and expression, with exact landmarks.

The head is a radius map over direction and height (`relief`, `hair`). A frame costs: drawing the features on
the chart (`features`), letting the jaw down (`jaw`), marching the rays (`raycast`), light (`light`), and
laying head over shoulders over backdrop (`scene`). The landmarks are where features were drawn, projected.

Shape legend:
    S side of the picture in pixels      H, W rows and columns of the chart
    h, w rows and columns of the grid that is marched, `cell_px` pixels a cell
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from megactor_core.synthetic.chart import Chart
from megactor_core.synthetic.contours import face_points
from megactor_core.synthetic.features import FeaturePainter
from megactor_core.synthetic.hair import grow_hair
from megactor_core.synthetic.hull import Hull
from megactor_core.synthetic.identity import Identity
from megactor_core.synthetic.jaw import DroppedJaw, Jaw
from megactor_core.synthetic.light import SHADE_ONE, Lamp
from megactor_core.synthetic.patch import lay_over
from megactor_core.synthetic.raycast import Hits, View, Window, cast
from megactor_core.synthetic.relief import skin_radius, surface_normals
from megactor_core.synthetic.scene import paint_backdrop, paint_torso
from megactor_core.synthetic.skin import neck_cover, paint_head
from megactor_core.synthetic.state import FaceState

ZOOM = 0.335
"""Pixels of a head unit as a share of the picture's side: the head is 0.7 of the picture high."""
_HEAD_X, _HEAD_Y = 0.5, 0.47
"""Where the middle of the head is at rest, as shares of the picture's side."""
_NECK_BASE = (0.0, 1.40, -0.24)
"""From the middle of the head to the base of the neck at rest, head units."""
_TORSO_FOLLOWS_X, _TORSO_FOLLOWS_Y = 0.55, 0.40
"""How far the shoulders go along when the head moves."""
_TORSO_COUNTERS_ROLL = 0.30
"""A head that leans turns about the neck: the shoulders stay behind by this much, head units a radian."""
_ALPHA = 3
_FINE_UP_TO_PX = 192
"""Smaller pictures are marched pixel by pixel, larger ones every second pixel."""


@dataclass(frozen=True, slots=True)
class RenderedFace:
    """image (S, S, 3) uint8 RGB; points (68, 2) float32, whole numbers at pixel centres."""

    image: np.ndarray
    points: np.ndarray


class _Head(NamedTuple):
    """The places that rays meet: columns and rows of the chart, light on them as in `Lamp`.

    (h, w) float32 and (h, w, 4) uint8. In the place of alpha, shade has the opacity of the silhouette and
    gloss the share of neck.
    """

    columns: np.ndarray
    rows: np.ndarray
    shade: np.ndarray
    gloss: np.ndarray


class FaceRenderer:
    """Renders one identity at `size_px` pixels a side; `zoom` is the share of it that a head unit takes.

    The same identity and state give the same bytes, whatever was rendered before. OpenCV's threads change
    nothing but speed: where several processes render, call cv2.setNumThreads(1) in each.
    """

    def __init__(self, identity: Identity, *, size_px: int, zoom: float = ZOOM) -> None:
        self.identity = identity
        self.size_px, self.zoom = size_px, zoom
        self.chart = chart = Chart.for_scale(zoom * size_px)
        self.lamp = Lamp.of(identity.light)
        skin = skin_radius(chart, identity)
        hair = grow_hair(chart, identity, skin)
        self._radius = hair.radius
        self._painted = paint_head(chart, identity, skin, hair)
        self._surface = np.dstack([surface_normals(chart, hair.radius), neck_cover(chart, hair)])
        self._hull = Hull.of(chart, identity, hair.radius, self._painted[..., 3])
        self._features = FeaturePainter(chart, identity)
        self._jaw = Jaw(chart, identity)
        self._backdrop = paint_backdrop(identity, size_px=size_px)
        self._torso = paint_torso(identity, self.lamp, unit_px=zoom * size_px)

    def render(self, state: FaceState) -> RenderedFace:
        """The picture of a state, and where its 68 points are."""
        points = face_points(self.identity, state)
        jaw = self._jaw.dropped(state)
        colours = jaw.moved(self._painted)
        radius = jaw.moved(self._radius)
        self._features.paint(colours, self.chart.pixels(points), state)
        view, base = self._view(state)
        window = self._window(view)
        hits, edges = cast(self.chart, radius, view, window)
        head = self._enlarged(self._looked_up(hits, jaw, view), window)
        if edges is not None:
            for whole, pixels in zip(head, self._looked_up(edges.hits, jaw, view), strict=True):
                whole[edges.at] = pixels[0]
        image = self._backdrop.copy()
        cloth = self._place_torso(image, base, view.unit_px, window)
        self._place_head(image, colours, window, head, cloth)
        return RenderedFace(
            image=cv2.cvtColor(image, cv2.COLOR_RGBA2RGB),
            points=self._project(points, radius, view),
        )

    def _view(self, state: FaceState) -> tuple[View, tuple[float, float]]:
        """How the head is seen, and the pixel of the base of the neck."""
        size, unit_px = self.size_px, self.zoom * self.size_px * state.scale
        centre = (size * (_HEAD_X + state.shift_x) - 0.5, size * (_HEAD_Y + state.shift_y) - 0.5)
        lean = _TORSO_COUNTERS_ROLL * np.radians(state.roll_degrees) * unit_px
        base = (
            size * (_HEAD_X + _TORSO_FOLLOWS_X * state.shift_x) - 0.5 - lean,
            size * (_HEAD_Y + _TORSO_FOLLOWS_Y * state.shift_y) - 0.5 + _NECK_BASE[1] * unit_px,
        )
        rotation = rotation_matrix(state)
        away = ((base[0] - centre[0]) / unit_px, (base[1] - centre[1]) / unit_px, _NECK_BASE[2])
        sideways, bend_y, forward = rotation.T @ np.array(away)
        bend = (float(sideways), float(forward - _NECK_BASE[2]))
        return View(rotation, centre, unit_px, bend=bend, bend_y=float(max(bend_y, 1.2))), base

    def _window(self, view: View) -> Window:
        """The pixels that the head may cover, in whole cells."""
        cell = 1 if self.size_px <= _FINE_UP_TO_PX else 2
        firsts, ends = self._hull.box(view)
        (left, columns), (top, rows) = (
            _whole_cells(first, end, size_px=self.size_px, cell_px=cell)
            for first, end in zip(firsts, ends, strict=True)
        )
        return Window(left, top, columns, rows, cell)

    def _enlarged(self, head: "_Head", window: Window) -> "_Head":
        """From cells to pixels; the soft edge keeps its width in pixels."""
        if window.cell_px == 1:
            return head
        size = (window.width, window.height)
        columns, rows, shade, gloss = (
            cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in head
        )
        alpha = cv2.extractChannel(shade, _ALPHA)
        cv2.insertChannel(cv2.addWeighted(alpha, 2, alpha, 0, -127.5), shade, _ALPHA)
        return _Head(columns, rows, shade, gloss)

    def _looked_up(self, hits: Hits, jaw: DroppedJaw, view: View) -> "_Head":
        """What is needed to colour the places that rays hit."""
        surface = cv2.remap(
            self._surface,
            hits.columns,
            jaw.canonical_rows(hits.columns, hits.rows),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        # Rows: towards the lamp, half-way to it, both at 127.5 (1 + cosine), and the neck.
        weights = np.zeros((3, 5), np.float32)
        weights[0, :3] = 127.5 * (view.rotation.T @ self.lamp.direction)
        weights[1, :3] = 127.5 * (view.rotation.T @ self.lamp.halfway)
        weights[:2, 4] = 127
        weights[2, 3] = 255
        towards, halfway, neck = cv2.split(cv2.convertScaleAbs(cv2.transform(surface, weights)))
        shade = cv2.LUT(cv2.merge([towards] * 4), self.lamp.shades)
        gloss = cv2.LUT(cv2.merge([halfway] * 4), self.lamp.gloss)
        cv2.insertChannel(cv2.convertScaleAbs(hits.alpha, alpha=255), shade, _ALPHA)
        cv2.insertChannel(neck, gloss, _ALPHA)
        return _Head(hits.columns, hits.rows, shade, gloss)

    def _place_torso(
        self, image: np.ndarray, base: tuple[float, float], unit_px: float, window: Window
    ) -> tuple[np.ndarray, int]:
        """Lay the shoulders over the picture in place.

        Returns where cloth hides the neck in the window's rows from a first one on, and that row.
        """
        first = min(max(0, self._torso.top_row(base, unit_px)), self.size_px)
        if first < self.size_px:
            body = self._torso.body(base, unit_px, size_px=self.size_px, first_row=first)
            lay_over(image[first:], body, cv2.extractChannel(body, _ALPHA))
        top = min(max(first, window.top), window.bottom)
        if top == window.bottom:
            return np.empty((0, window.width), np.uint8), window.height
        corner, size = (window.left, top), (window.width, window.bottom - top)
        return self._torso.before_neck(base, unit_px, corner=corner, size=size), top - window.top

    def _place_head(
        self,
        image: np.ndarray,
        colours: np.ndarray,
        window: Window,
        head: "_Head",
        cloth: tuple[np.ndarray, int],
    ) -> None:
        """Look up the head's colours pixel by pixel, light them and lay them over the picture in place."""
        seen = cv2.remap(colours, head.columns, head.rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cover = cv2.multiply(
            cv2.extractChannel(seen, _ALPHA), cv2.extractChannel(head.shade, _ALPHA), scale=1 / 255
        )
        before_neck, first = cloth
        if first < len(cover):
            neck = cv2.extractChannel(head.gloss[first:], _ALPHA)
            bare = cv2.bitwise_not(cv2.multiply(neck, before_neck, scale=1 / 255))
            cover[first:] = cv2.multiply(cover[first:], bare, scale=1 / 255)
        lit = cv2.add(cv2.multiply(seen, head.shade, scale=1 / SHADE_ONE), head.gloss)
        lay_over(image[window.part], lit, cover)

    def _project(self, points: np.ndarray, radius: np.ndarray, view: View) -> np.ndarray:
        pixels = self.chart.pixels(points)
        at = cv2.remap(radius, pixels[np.newaxis, :, 0], pixels[np.newaxis, :, 1], cv2.INTER_LINEAR)[0]
        return view.project(points[:, 0], points[:, 1], at).astype(np.float32)


def _whole_cells(first: int, end: int, *, size_px: int, cell_px: int) -> tuple[int, int]:
    """The first pixel, and as many whole cells within the picture as reach `end`, at least one."""
    first = min(max(0, first), size_px - cell_px)
    cells = max(1, -(-(min(size_px, end) - first) // cell_px))
    beyond = first + cells * cell_px - size_px
    if beyond <= 0:
        return first, cells
    return (first - beyond, cells) if first >= beyond else (first, cells - 1)


def rotation_matrix(state: FaceState) -> np.ndarray:
    """The (3, 3) rotation from head to picture: Ry(yaw) Rx(pitch) Rz(roll), signs as in `faces.headpose`.

    Here z points to the camera.
    """
    angles = np.radians([state.yaw_degrees, state.pitch_degrees, state.roll_degrees])
    (cos_y, cos_p, cos_r), (sin_y, sin_p, sin_r) = np.cos(angles), np.sin(angles)
    turn = np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
    nod = np.array([[1, 0, 0], [0, cos_p, -sin_p], [0, sin_p, cos_p]])
    lean = np.array([[cos_r, -sin_r, 0], [sin_r, cos_r, 0], [0, 0, 1]])
    return turn @ nod @ lean
