"""A synthetic talking head: pictures of an identity in any pose and expression, with exact landmarks.

The head is a radius map over direction and height (`relief`, `hair`). A frame costs: drawing the features on
the chart (`features`), letting the jaw down (`jaw`), marching the rays (`raycast`), light (`light`), and
laying head over shoulders over backdrop (`scene`). The landmarks are where features were drawn, projected.

Shape legend:
    S side of the picture in pixels      H, W rows and columns of the chart
    h, w rows and columns of the grid that is marched, `cell_px` pixels a cell
"""

from dataclasses import dataclass

import cv2
import numpy as np

from megactor_core.synthetic.chart import Chart
from megactor_core.synthetic.contours import face_points
from megactor_core.synthetic.features import FeaturePainter
from megactor_core.synthetic.hair import grow_hair
from megactor_core.synthetic.identity import Identity
from megactor_core.synthetic.jaw import Jaw
from megactor_core.synthetic.light import SHADE_ONE, Lamp
from megactor_core.synthetic.raycast import Hits, View, Window, cast
from megactor_core.synthetic.relief import skin_radius, surface_normals
from megactor_core.synthetic.scene import paint_backdrop, paint_torso
from megactor_core.synthetic.skin import material, paint_head
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
_REACH_X, _REACH_UP, _REACH_DOWN = 1.16, 1.40, 1.62
"""The part of the picture that may show head, hair or neck, head units from the middle of the head."""
_FINE_UP_TO_PX = 192
"""Smaller pictures are marched pixel by pixel, larger ones every second pixel."""


@dataclass(frozen=True, slots=True)
class RenderedFace:
    """image (S, S, 3) uint8 RGB; points (68, 2) float32, whole numbers at pixel centres."""

    image: np.ndarray
    points: np.ndarray


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
        self._surface = np.concatenate(
            [surface_normals(chart, hair.radius), material(chart, hair)[..., np.newaxis]], axis=-1
        )
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
        hits = cast(self.chart, radius, view, window)
        canonical_rows = jaw.canonical_rows(hits.columns, hits.rows)
        shade, gloss, neck = self._light(view, hits, canonical_rows)
        image = self._backdrop.copy()
        cloth = self._place_torso(image, base, view.unit_px)
        self._place_head(image, colours, window, hits, (shade, gloss, neck), cloth)
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
        x, y = view.centre
        left = min(max(0, int(x - _REACH_X * view.unit_px)), self.size_px - cell)
        top = min(max(0, int(y - _REACH_UP * view.unit_px)), self.size_px - cell)
        right = min(self.size_px, int(x + _REACH_X * view.unit_px) + 2)
        bottom = min(self.size_px, int(y + _REACH_DOWN * view.unit_px) + 2)
        columns, rows = max(1, (right - left) // cell), max(1, (bottom - top) // cell)
        return Window(left, top, columns, rows, cell)

    def _light(
        self, view: View, hits: Hits, canonical_rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shade and gloss (h, w, 4) uint8, and what share of a cell is neck (h, w) float32."""
        surface = cv2.remap(
            self._surface, hits.columns, canonical_rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        # Rows: towards the lamp, half-way to it, and the material, which is kept.
        weights = np.zeros((3, 4), np.float32)
        weights[0, :3] = 127.5 * (view.rotation.T @ self.lamp.direction)
        weights[1, :3] = 127.5 * (view.rotation.T @ self.lamp.halfway)
        weights[2, 3] = 1
        towards, halfway, what = cv2.split(cv2.transform(surface, weights))
        lit = np.clip(towards + np.float32(127.5), 0, 255).astype(np.uint8)
        glossy = np.clip(halfway + np.float32(127.5), 0, 255).astype(np.uint8)
        shade = cv2.LUT(cv2.merge([lit, lit, lit, lit]), self.lamp.shades)
        gloss = cv2.LUT(cv2.merge([glossy, glossy, glossy, glossy]), self.lamp.gloss)
        return shade, gloss, np.clip(-what, 0, 1)

    def _place_torso(self, image: np.ndarray, base: tuple[float, float], unit_px: float) -> np.ndarray:
        """Lay the shoulders over the picture in place; returns where cloth hides the neck, (S, S) uint8."""
        size = self.size_px
        cloth = np.zeros((size, size), np.uint8)
        first = min(max(0, self._torso.top_row(base, unit_px)), size)
        if first < size:
            picture, cover = self._torso.placed(base, unit_px, size_px=size, first_row=first)
            share = cover[..., 0] * np.float32(1 / 255)
            image[first:] = cv2.blendLinear(picture, image[first:], share, 1 - share)
            cloth[first:] = cover[..., 1]
        return cloth

    def _place_head(
        self,
        image: np.ndarray,
        colours: np.ndarray,
        window: Window,
        hits: Hits,
        lit: tuple[np.ndarray, np.ndarray, np.ndarray],
        cloth: np.ndarray,
    ) -> None:
        """Look up the head's colours pixel by pixel, light them and lay them over the picture in place."""
        shade, gloss, neck = lit
        columns, rows, alpha = hits.columns, hits.rows, hits.alpha
        size = (window.columns * window.cell_px, window.rows * window.cell_px)
        if window.cell_px > 1:
            columns, rows, neck, shade, gloss = (
                cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)
                for part in (columns, rows, neck, shade, gloss)
            )
            alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR)
            alpha = np.clip((alpha - np.float32(0.5)) * np.float32(2) + np.float32(0.5), 0, 1)
        seen = cv2.remap(colours, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        lit_colours = cv2.add(cv2.multiply(seen, shade, scale=1 / SHADE_ONE), gloss)
        part = (
            slice(window.top, window.top + size[1]),
            slice(window.left, window.left + size[0]),
        )
        behind_cloth = neck * (cloth[part] * np.float32(1 / 255))
        share = alpha * (seen[..., 3] * np.float32(1 / 255)) * (1 - behind_cloth)
        image[part] = cv2.blendLinear(lit_colours, np.ascontiguousarray(image[part]), share, 1 - share)

    def _project(self, points: np.ndarray, radius: np.ndarray, view: View) -> np.ndarray:
        pixels = self.chart.pixels(points)
        at = cv2.remap(radius, pixels[np.newaxis, :, 0], pixels[np.newaxis, :, 1], cv2.INTER_LINEAR)[0]
        return view.project(points[:, 0], points[:, 1], at).astype(np.float32)


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
