"""How far mouth and eyes are open and how high the brows are: measured in the head's own axes.

The 68 points are fitted with a generic head seen by a parallel camera, which gives the directions in the
picture of the head's width and height. Distances along these, in units of the fitted head, do not change
with the face's place, size and lean, and little where it turns or nods (not in the paper).

Shape legend:
    ... any leading axes, for instance frames
"""

from dataclasses import dataclass

import numpy as np

from megactor_core.faces.headpose import HEAD_CM, RIGID_POINTS

OUTER_EYE_CORNERS = (36, 45)
INNER_LIPS = ((61, 67), (62, 66), (63, 65))
OUTER_LIPS = ((49, 59), (50, 58), (51, 57), (52, 56), (53, 55))
MOUTH_CORNERS = (48, 54)
# Of the eye (and brow) on the picture's left, then of the one on its right.
LIDS = (((37, 41), (38, 40)), ((43, 47), (44, 46)))
EYE_CORNERS = ((36, 39), (42, 45))
BROWS = (tuple(range(17, 22)), tuple(range(22, 27)))


@dataclass(frozen=True, slots=True)
class Openings:
    """Distances in units of the distance between the outer corners of the eyes; NaN where there is no face.

    Leading axes as those of the points; float64.
    """

    mouth_open: np.ndarray
    """(...,) from upper to lower inner lip: about 0 where closed, 0.1 in speech, 0.3 or more wide open."""
    lips_height: np.ndarray
    """(...,) from upper to lower outer lip: the lips' thickness more, and less shaken by the detector."""
    mouth_width: np.ndarray
    """(...,) from corner to corner, about 0.55 at rest."""
    eyes_open: np.ndarray
    """(..., 2) height over width of the eye on the picture's left and right (the eye aspect ratio): about 0.3
    open; closed, MediaPipe's points still show up to 0.2."""
    brows_height: np.ndarray
    """(..., 2) the brow's mean over the middle between the eye's corners, left and right."""


def openings(points: np.ndarray) -> Openings:
    """Measure faces: points (..., 68, 2) in pixels. A face that is NaN, or all in one place, gives NaN."""
    head = _HeadAxes(points.astype(np.float64))
    lids = [head.height(_apart(head.points, pairs)) for pairs in LIDS]
    eye_widths = [head.width(_apart(head.points, (corners,))) for corners in EYE_CORNERS]
    with np.errstate(divide="ignore", invalid="ignore"):  # an eye seen edge on has no width
        eyes = np.stack(lids, axis=-1) / np.stack(eye_widths, axis=-1)
    return Openings(
        mouth_open=head.height(_apart(head.points, INNER_LIPS)),
        lips_height=head.height(_apart(head.points, OUTER_LIPS)),
        mouth_width=head.width(_apart(head.points, (MOUTH_CORNERS,))),
        eyes_open=eyes,
        brows_height=np.stack([head.height(_above(head.points, side)) for side in (0, 1)], axis=-1),
    )


class _HeadAxes:
    """The head's axes across and down as seen in the picture, one of its units long each: (..., 2) pixels."""

    def __init__(self, points: np.ndarray) -> None:
        self.points = points
        seen = points[..., list(RIGID_POINTS), :]
        seen = seen - seen.mean(axis=-2, keepdims=True)
        self._across, self._down = np.moveaxis((_FROM_SEEN @ seen)[..., :2, :], -2, 0)
        area = _cross(self._across, self._down)
        self._area = np.where(area == 0, np.nan, area)

    def width(self, apart: np.ndarray) -> np.ndarray:
        """The part of (..., 2) pixels that runs across the head."""
        return _cross(apart, self._down) / self._area

    def height(self, apart: np.ndarray) -> np.ndarray:
        """The part of (..., 2) pixels that runs down the head."""
        return _cross(self._across, apart) / self._area


def _from_seen() -> np.ndarray:
    """(3, P): the least-squares camera of P rigid points about their mean; a row each: across, down, away."""
    head = HEAD_CM - HEAD_CM.mean(axis=0)
    left, right = (HEAD_CM[RIGID_POINTS.index(corner)] for corner in OUTER_EYE_CORNERS)
    return np.asarray(np.linalg.pinv(head / np.linalg.norm(right - left)))


_FROM_SEEN = _from_seen()


def _apart(points: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    """The mean over the pairs of the way from the first to the second point, (..., 2)."""
    starts, ends = (list(column) for column in zip(*pairs, strict=True))
    return np.asarray((points[..., ends, :] - points[..., starts, :]).mean(axis=-2))


def _above(points: np.ndarray, side: int) -> np.ndarray:
    """From a brow's mean to the middle between its eye's corners, (..., 2)."""
    eye = points[..., list(EYE_CORNERS[side]), :].mean(axis=-2)
    return np.asarray(eye - points[..., list(BROWS[side]), :].mean(axis=-2))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
