"""What moves in a face: brows, eyes, mouth and smile lines, drawn on the chart for every frame.

Everything is drawn from the same 68 points that are given as truth. Sizes are in head units times
`Chart.px_per_unit`.

Shape legend:
    H, W rows and columns of the chart      h, w rows and columns of a patch of it
    points (68, 2): columns and rows of the chart
"""

from typing import NamedTuple

import cv2
import numpy as np

from megactor_core.synthetic.chart import X_PER_PHI, Chart
from megactor_core.synthetic.curves import curve, disc, fill, stroke
from megactor_core.synthetic.eyeball import Eyeball
from megactor_core.synthetic.identity import Identity
from megactor_core.synthetic.mouth import MouthPainter
from megactor_core.synthetic.patch import Patch, blend, lines_of, rgba, soften
from megactor_core.synthetic.state import FaceState

_CARUNCLE = (190, 122, 112, 255)
_LID_SHADOW = (38, 26, 24, 255)
_MIRROR = np.array([-1, 1], np.float32)
_FRAME = np.array([52, 45, 44])
_FRAME_SHARE = 0.34
"""Thin wire lets skin through: dark rims would hide from a detector whether the eyes are open."""


class _Lids(NamedTuple):
    """The lids of one eye, in pixels of its patch.

    upper (P, 2) from the inner corner, lower (P, 2) back to it, middle (2,) of the eye; masks (h, w) uint8.
    """

    upper: np.ndarray
    lower: np.ndarray
    middle: np.ndarray
    crease: np.ndarray
    opening: np.ndarray
    shadow: np.ndarray


class FeaturePainter:
    """Draws one identity's features onto its chart."""

    def __init__(self, chart: Chart, identity: Identity) -> None:
        self.chart, self.identity = chart, identity
        self.unit_px = chart.px_per_unit
        self.skin = np.array(identity.skin.colour)
        self.eyeball = Eyeball(identity, unit_px=self.unit_px)
        self.mouth = MouthPainter(chart, identity)
        dark = identity.brows.dark
        self.brow_colour = np.array(identity.hair.colour) * 0.7 * (1 - dark) + np.array([30, 22, 18]) * dark

    def paint(self, chart_picture: np.ndarray, points: np.ndarray, state: FaceState) -> None:
        """Draw onto the chart (H, W, 4) uint8 in place."""
        self.mouth.paint(chart_picture, points, state)
        self._brows(chart_picture, points[22:27])
        self._eyes(chart_picture, points[42:48], state)
        if self.identity.glasses:
            self._glasses(chart_picture)

    def _brows(self, chart_picture: np.ndarray, points: np.ndarray) -> None:
        """Soft bands with hairs in them, thinning out to the temple; points (5, 2) of the right one."""
        line = curve(points, steps=4)  # from the inner end
        along = np.linspace(0, 1, len(line))
        half = (
            self.identity.brows.thickness
            * self.unit_px
            * np.interp(along, (0, 0.3, 0.75, 1), (0.6, 1, 0.75, 0.2))
        )
        patch = Patch.around(chart_picture, line, margin=0.05 * self.unit_px + 2)
        mask = patch.mask()
        line = line - patch.corner
        up = np.stack([np.zeros_like(half), half], axis=1)
        fill(mask, np.concatenate([line - up, (line + 0.8 * up)[::-1]]), (165,))
        lean = np.stack([0.25 + 1.1 * along, 0.9 - 1.1 * along], axis=1) * half[:, np.newaxis]
        roots, tips = line + 0.9 * up, line + 0.4 * up + lean - 1.35 * up
        stroke(mask, lines_of(roots[:-1], tips[:-1]), (235,))
        mask = soften(mask, max(0.5, 0.006 * self.unit_px))
        colour = rgba(self.brow_colour)
        blend(patch.pixels, colour, mask)
        blend(patch.mirrored(chart_picture).pixels, colour, cv2.flip(mask, 1))

    def _eyes(self, chart_picture: np.ndarray, points: np.ndarray, state: FaceState) -> None:
        """Both eyes; points of the right one (6, 2). Lids are the same on both sides, what is seen is not."""
        unit, eyes = self.unit_px, self.identity.eyes
        centre = self.chart.pixels(np.array([eyes.x / X_PER_PHI, eyes.y]))
        right = Patch.centred(chart_picture, centre, half_width=0.25 * unit, half_height=0.19 * unit)
        corners = points - right.corner  # from the inner corner
        upper, lower = curve(corners[:4]), curve(corners[[3, 4, 5, 0]])
        crease, opening = self._crease(right, upper, state), right.mask()
        fill(opening, np.concatenate([upper, lower]), (255,))
        shadow = self._shadow_of_lid(right, upper)
        self._eye(right, _Lids(upper, lower, centre - right.corner, crease, opening, shadow), 1, state)
        columns = right.pixels.shape[1] - 1
        upper, lower, middle = (
            line * _MIRROR + (columns, 0) for line in (upper, lower, centre - right.corner)
        )
        crease, opening, shadow = (cv2.flip(mask, 1) for mask in (crease, opening, shadow))
        left = right.mirrored(chart_picture)
        self._eye(left, _Lids(upper, lower, middle, crease, opening, shadow), -1, state)

    def _eye(self, patch: Patch, lids: "_Lids", side: int, state: FaceState) -> None:
        unit = self.unit_px
        blend(patch.pixels, rgba(self.skin * (0.52, 0.46, 0.44)), lids.crease)
        gaze = np.array([state.gaze_x * 0.058, state.gaze_y * 0.030]) * unit
        ball = self.eyeball.seen(patch.pixels.shape[:2], lids.middle, gaze)
        inner = (lids.upper[0] + (0.008 * side * unit, 0), (0.026 * unit, 0.02 * unit))
        disc(ball, *inner, _CARUNCLE)
        blend(ball, _LID_SHADOW, lids.shadow)
        blend(patch.pixels, ball, lids.opening)
        self._lashes(patch.pixels, lids.upper, lids.lower, side)

    def _crease(self, patch: Patch, upper: np.ndarray, state: FaceState) -> np.ndarray:
        """Where the crease over the eye is; it sinks and fades when the eye closes."""
        unit = self.unit_px
        middle = np.sin(np.linspace(0, np.pi, len(upper))) ** 0.7
        raised = (0.042 - 0.004 * float(state.eye_open)) * unit
        crease = upper - np.stack([np.zeros_like(middle), middle * raised + 0.004 * unit], axis=1)
        mask = patch.mask()
        strength = (70 + 90 * self.identity.eyes.crease) * min(float(state.eye_open), 1)
        stroke(mask, crease[2:-1], (strength,), thickness=max(1, round(0.010 * unit)))
        return soften(mask, max(0.6, 0.007 * unit))

    def _shadow_of_lid(self, patch: Patch, upper: np.ndarray) -> np.ndarray:
        mask = patch.mask()
        line = upper + np.array([0, 0.004 * self.unit_px])
        stroke(mask, line, (150,), thickness=max(1, round(0.042 * self.unit_px)))
        return soften(mask, max(0.6, 0.012 * self.unit_px))

    def _lashes(self, pixels: np.ndarray, upper: np.ndarray, lower: np.ndarray, side: int) -> None:
        unit, lashes = self.unit_px, self.identity.eyes.lashes
        stroke(
            pixels, lower[1:-1], rgba(self.skin * (0.66, 0.52, 0.48)), thickness=max(1, round(0.007 * unit))
        )
        along = np.linspace(0, 1, len(upper))
        thick = np.interp(along, (0, 0.3, 0.8, 1), (0.3, 0.85, 1.0, 0.5)) * (0.008 + 0.007 * lashes) * unit
        rim = np.stack([np.zeros_like(thick), np.maximum(thick, 0.55)], axis=1)
        dark = rgba(self.brow_colour * 0.3 + 4)
        fill(pixels, np.concatenate([upper - rim, (upper + 0.35 * rim)[::-1]]), dark)
        if lashes > 0.6:
            spread = (along - 0.35)[:, np.newaxis] * (side * 0.05, 0) - (0, 0.022)
            tips = upper + spread * lashes * unit
            stroke(pixels, lines_of(upper[6::2], tips[6::2]), dark)

    def _glasses(self, chart_picture: np.ndarray) -> None:
        unit, eyes = self.unit_px, self.identity.eyes
        radius = self.identity.glasses
        wire = rgba(_FRAME_SHARE * _FRAME + (1 - _FRAME_SHARE) * self.skin)
        thickness = max(1, round(0.014 * unit))
        lens_y, height = eyes.y + 0.035, 0.80 * radius
        for side in (-1, 1):
            centre = self.chart.pixels(np.array([side * eyes.x / X_PER_PHI, lens_y]))
            disc(chart_picture, centre, (radius * unit, height * unit), wire, thickness=thickness)
            outer = (eyes.x + radius) / X_PER_PHI
            arm = self.chart.pixels(np.array([[side * outer, lens_y - 0.05], [side * 1.36, lens_y - 0.08]]))
            stroke(chart_picture, arm, wire, thickness=thickness)
        inner = (eyes.x - radius) / X_PER_PHI
        bridge = np.array([[-inner, lens_y - 0.02], [0, lens_y - 0.045], [inner, lens_y - 0.02]])
        stroke(chart_picture, curve(self.chart.pixels(bridge)), wire, thickness=thickness)
