"""The mouth and the lines about it, drawn for every frame.

Shape legend:
    h, w rows and columns of the patch of the chart that the mouth moves in
    points (68, 2): columns and rows of the chart; 48 to 59 outer lips, 60 to 67 inner lips
"""

import cv2
import numpy as np

from megactor_core.synthetic.chart import X_PER_PHI, Chart
from megactor_core.synthetic.curves import curve, disc, fill, stroke
from megactor_core.synthetic.identity import Identity
from megactor_core.synthetic.patch import Patch, blend, lines_of, rgba, soften
from megactor_core.synthetic.state import FaceState

_LIP_RED = np.array([188, 72, 78])
_CAVITY = (52, 17, 19, 255)
_TONGUE = np.array([178, 82, 86])
_TEETH = np.array([232, 226, 214])
_LEAST_GAP = 0.012
"""Inside a mouth that is open less than this there is nothing to see, head units."""


class MouthPainter:
    """Draws one identity's mouth onto its chart."""

    def __init__(self, chart: Chart, identity: Identity) -> None:
        self.chart, self.identity = chart, identity
        self.unit_px = chart.px_per_unit
        skin, red = np.array(identity.skin.colour), identity.mouth.redness
        brightness = 0.4 + 0.6 * skin.mean() / 230
        self.lip = skin * (0.84, 0.74, 0.74) * (1 - red) + _LIP_RED * red * brightness
        self.skin = skin

    def paint(self, chart_picture: np.ndarray, points: np.ndarray, state: FaceState) -> None:
        """Draw onto the chart (H, W, 4) uint8 in place."""
        self._smile_lines(chart_picture, points, state)
        patch = Patch.around(chart_picture, points[48:60], margin=0.06 * self.unit_px + 2)
        lips = points[48:68] - patch.corner
        self._lips(patch, lips)
        gap = float(lips[18, 1] - lips[14, 1]) / self.unit_px
        if gap > _LEAST_GAP:
            self._inside(patch, lips, gap)
        self._line_of_lips(patch, lips, gap)

    def _smile_lines(self, chart_picture: np.ndarray, points: np.ndarray, state: FaceState) -> None:
        """From the wings of the nose past the corners of the mouth; they deepen with a smile and with age."""
        unit, nose = self.unit_px, self.identity.nose
        smile = max(float(state.smile), 0)
        depth = 0.16 + 0.30 * self.identity.skin.wrinkles + 0.55 * smile
        depth = min(depth + 0.10 * max(float(state.mouth_wide), 0), 1)
        colour = rgba(self.skin * (0.60, 0.50, 0.47))
        wing = np.array([(nose.half_width + 0.03) / X_PER_PHI, nose.base_y - 0.035])
        start, end = self.chart.pixels(wing), points[54] + np.array([0.055, -0.01]) * unit
        middle = (start + end) / 2 + np.array([0.018 + 0.03 * smile, -0.01]) * unit
        line = curve(np.stack([start, middle, end]))
        patch = Patch.around(chart_picture, line, margin=0.05 * unit + 2)
        mask = patch.mask()
        stroke(mask, line - patch.corner, (235 * depth,), thickness=max(1, round(0.022 * unit)))
        mask = soften(mask, max(0.7, 0.016 * unit))
        blend(patch.pixels, colour, mask)
        blend(patch.mirrored(chart_picture).pixels, colour, cv2.flip(mask, 1))

    def _lips(self, patch: Patch, lips: np.ndarray) -> None:
        unit = self.unit_px
        upper, lower = curve(lips[:7]), curve(lips[[6, 7, 8, 9, 10, 11, 0]])
        rows, columns = patch.pixels.shape[:2]
        line_y = float(lips[[13, 14, 15, 17, 18, 19], 1].mean())
        y = np.arange(rows, dtype=np.float32)
        below = np.clip((y - line_y) / (0.09 * unit), -1, 1)
        # The upper lip faces down and is darker, the lower one is lit at its belly and dark at its foot.
        shade = np.where(below < 0, 0.80 - 0.08 * below, 0.92 + 0.42 * below - 0.55 * below**2)
        painted = np.empty((rows, columns, 4), np.uint8)
        painted[..., :3] = np.clip(self.lip * shade[:, np.newaxis], 0, 255)[:, np.newaxis]
        painted[..., 3] = 255
        shine = patch.mask()
        belly = (lips[9] + lips[18]) / 2 - np.array([0, 0.008 * unit])
        disc(shine, belly, (0.085 * unit, max(0.7, 0.012 * unit)), (105,))
        shine = soften(shine, max(0.6, 0.014 * unit))
        blend(painted, (255, 236, 230, 255), shine)
        mask = patch.mask()
        fill(mask, np.concatenate([upper, lower]), (245,))
        mask = soften(mask, max(0.5, 0.008 * unit))
        blend(patch.pixels, painted, mask)

    def _inside(self, patch: Patch, lips: np.ndarray, gap: float) -> None:
        """Cavity, tongue, and both rows of teeth, seen through the inner outline of the lips."""
        unit = self.unit_px
        upper, lower = curve(lips[12:17]), curve(lips[[16, 17, 18, 19, 12]])
        inside = np.empty_like(patch.pixels)
        inside[:] = _CAVITY
        middle, half_width = float(lips[14, 0]), float(lips[16, 0] - lips[12, 0]) / 2
        top, bottom = float(lips[14, 1]), float(lips[18, 1])
        tongue = np.array([middle, bottom + 0.012 * unit])
        height = (0.05 + 0.25 * gap) * unit
        down = np.array([0, height])
        disc(inside, tongue, (0.60 * half_width, height), rgba(_TONGUE * 0.8))
        disc(inside, tongue + down / 4, (0.5 * half_width, 0.8 * height), rgba(_TONGUE))
        stroke(inside, np.stack([tongue - 0.8 * down, tongue]), rgba(_TONGUE * 0.72))
        self._teeth(inside, middle, top, half_width, reach=min(0.06, 0.62 * gap) * unit)
        if gap > 0.09:
            self._teeth(inside, middle, bottom, 0.8 * half_width, reach=-min(0.028, 0.2 * gap) * unit)
        inside = soften(inside, max(0.5, 0.006 * unit))
        mask = patch.mask()
        fill(mask, np.concatenate([upper, lower]), (255,))
        dark = patch.mask()
        stroke(dark, upper, (150,), thickness=max(1, round(0.03 * unit)))
        dark = soften(dark, max(0.6, 0.012 * unit))
        blend(inside, (30, 10, 12, 255), dark)
        blend(patch.pixels, inside, mask)

    def _teeth(
        self, inside: np.ndarray, middle: float, edge: float, half_width: float, *, reach: float
    ) -> None:
        """A row of teeth that hangs (reach > 0) or stands (reach < 0) from the edge of a lip."""
        unit, bright = self.unit_px, self.identity.mouth.teeth * (1 if reach > 0 else 0.82)
        across = np.array([-0.88, -0.72, -0.4, 0, 0.4, 0.72, 0.88]) * half_width
        down = np.array([0.1, 0.62, 0.94, 1, 0.94, 0.62, 0.1]) * reach
        bite = curve(np.stack([middle + across, edge + down], axis=1))
        root = -np.sign(reach) * 0.08 * unit
        gums = np.array([[middle + half_width, edge + root], [middle - half_width, edge + root]])
        fill(inside, np.concatenate([bite, gums]), rgba(_TEETH * bright * 0.86))
        front = bite[4:-4]
        inner = np.array([[front[-1, 0], edge + root], [front[0, 0], edge + root]])
        fill(inside, np.concatenate([front, inner]), rgba(_TEETH * bright))
        tooth_px = 0.052 * unit
        if tooth_px > 5:
            count = int(0.75 * half_width / tooth_px)
            x = middle + tooth_px * (np.arange(-count, count + 1))
            ends = np.stack([x, np.full_like(x, edge + 0.86 * reach)], axis=1)
            starts = np.stack([x, np.full_like(x, edge + root)], axis=1)
            stroke(inside, lines_of(starts, ends), rgba(_TEETH * bright * 0.80))

    def _line_of_lips(self, patch: Patch, lips: np.ndarray, gap: float) -> None:
        """The dark line where closed lips meet, and the corners of the mouth."""
        unit = self.unit_px
        line = curve(np.concatenate([lips[:1], lips[12:17], lips[6:7]]), steps=4)
        mask = patch.mask()
        strength = 225 - 110 * min(gap / 0.06, 1)
        stroke(mask, line, (strength,), thickness=max(1, round(0.011 * unit)))
        for corner in (lips[0], lips[6]):
            disc(mask, corner, (0.014 * unit, 0.012 * unit), (120,))
        mask = soften(mask, max(0.5, 0.006 * unit))
        blend(patch.pixels, rgba(self.lip * (0.34, 0.26, 0.26)), mask)
