"""Light on skin and hair: one lamp, a sky, and the gloss of a moist surface, as look-up tables."""

from dataclasses import dataclass

import numpy as np

from megactor_core.synthetic.identity import Light

SHADE_ONE = 160
"""The 8-bit value of a shade of 1."""
_WRAP = np.array([0.42, 0.30, 0.24])
"""How far light reaches round the edge of shadow in red, green and blue: skin scatters red furthest."""
_FULL = 1.17
_GLOSS, _GLOSS_POWER = 17.0, 16.0


@dataclass(frozen=True, slots=True)
class Lamp:
    """direction (3,) to the lamp in the picture's axes; shades (256, 1, 4) uint8, SHADE_ONE is neutral;
    gloss (256, 1, 4) uint8 is added. Both tables are read by a cosine c at 127.5 (1 + c)."""

    direction: np.ndarray
    shades: np.ndarray
    gloss: np.ndarray

    @staticmethod
    def of(light: Light) -> "Lamp":
        azimuth, elevation = np.radians(light.azimuth_degrees), np.radians(light.elevation_degrees)
        direction = np.array(
            [np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
        )
        cosines = np.linspace(-1, 1, 256)[:, np.newaxis]
        lit = np.clip((cosines + _WRAP) / (1 + _WRAP), 0, 1) ** 1.2
        shades = (light.ambient + (_FULL - light.ambient) * lit) * np.array(light.tint) / 255
        gloss = _GLOSS * np.clip(cosines, 0, 1) ** _GLOSS_POWER * np.array(light.tint) / 255
        return Lamp(direction, _table(shades * SHADE_ONE, alpha=SHADE_ONE), _table(gloss, alpha=0))

    @property
    def halfway(self) -> np.ndarray:
        """The normal that mirrors the lamp into the camera, (3,)."""
        middle = self.direction + np.array([0, 0, 1])
        return middle / np.linalg.norm(middle)

    def shade(self, normals: np.ndarray) -> np.ndarray:
        """Factors on red, green and blue for unit normals (..., 3) in the picture's axes."""
        steps = np.clip(127.5 * (1 + normals @ self.direction), 0, 255).astype(np.uint8)
        return self.shades[steps, 0, :3].astype(np.float32) / SHADE_ONE


def _table(colours: np.ndarray, *, alpha: int) -> np.ndarray:
    table = np.full((256, 1, 4), alpha, np.uint8)
    table[:, 0, :3] = np.clip(np.round(colours), 0, 255)
    return table
