"""Classical stand-ins for the paper's face swap and restyling of the driver, which need large models.

They change colours, surfaces, face shape and sharpness, and keep the expression. They are weaker: a person
can still be told from the patches more often than after a face swap.

Shape legend:
    F frames   S side in pixels   K control points   G nodes along one side of the displacement grid
"""

from dataclasses import dataclass

import cv2
import numpy as np

from megactor_core.config.data import SubstituteConfig
from megactor_core.data.augment import apply_curve, grey_frames
from megactor_core.faces.amplitude import rigid_similarity, transform_points
from megactor_core.faces.regions import MOUTH, SIDE_A, SIDE_B

RING_POINTS = 10
"""Points round the face that are moved. They and the numbers below are ours."""
_RING_CENTRE = 0.5  # below the eyes, and the ring's half axes: all in distances between the eyes
_RING_AXES = (1.3, 1.7)
_NOSE = tuple(range(27, 36))
_GRID_NODES = 33
_SMOOTHING = 1e-5  # points that coincide, such as closed lids, would otherwise have no spline
_CONTRAST_RANGE = (0.5, 2.0)  # a flat picture's colours would otherwise be spread without bound
_BLUR_PER_FACTOR = 0.4  # standard deviation in pixels, for each factor of lost resolution
_BILATERAL_COLOUR = 40.0  # grey levels
_BILATERAL_REACH = 1 / 64  # of the picture's side


@dataclass(frozen=True, slots=True)
class Substitutes:
    """What takes the driver's place in a sample: drawn once for all its frames.

    palette: None, or the number of the clip that lends its colours (never the sample's own) and where in it,
    0 ... 1. bend: None, or (RING_POINTS, 2) in distances between the eyes. degrade: factor of lost
    resolution, 1 for none.
    """

    driver: bool
    palette: tuple[int, float] | None
    posterise: bool
    smooth: bool
    bend: np.ndarray | None
    degrade: float | None


def draw_substitutes(
    config: SubstituteConfig, rng: np.random.Generator, *, clip: int, clips: int
) -> Substitutes:
    """Draw for clip number `clip` of `clips`; one order of draws, so that no rate changes another's."""
    driver, recolours, posterise, smooth, bends, degrades = rng.random(6) < (
        config.driver_rate,
        config.recolour_rate,
        config.posterise_rate,
        config.smooth_rate,
        config.elastic_rate,
        config.degrade_rate,
    )
    step, where = rng.random(2)
    bend = rng.uniform(-config.elastic_size, config.elastic_size, (RING_POINTS, 2))
    degrade = rng.uniform(1, config.degrade_factor_max)
    palette = (clip + 1 + int(step * (clips - 1))) % clips
    return Substitutes(
        driver=bool(driver),
        palette=(palette, float(where)) if recolours and clips > 1 else None,
        posterise=bool(posterise),
        smooth=bool(smooth),
        bend=bend if bends else None,
        degrade=float(degrade) if degrades else None,
    )


def transfer_colours(frames: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Give frames (F, S, S, 3) the mean and spread, in Lab, of another picture (S', S', 3); uint8."""
    lab = _converted(frames, cv2.COLOR_RGB2LAB)
    goal = cv2.cvtColor(palette, cv2.COLOR_RGB2LAB)
    mean, spread = lab.mean(axis=(0, 1, 2)), lab.std(axis=(0, 1, 2))
    goal_mean, goal_spread = goal.mean(axis=(0, 1)), goal.std(axis=(0, 1))
    contrast = np.clip(goal_spread / np.maximum(spread, 1e-3), *_CONTRAST_RANGE)
    curves = (np.arange(256)[:, np.newaxis] - mean) * contrast + goal_mean
    return _converted(apply_curve(lab, curves), cv2.COLOR_LAB2RGB)


def posterise(frames: np.ndarray, *, levels: int) -> np.ndarray:
    """Reduce every channel to `levels` even steps."""
    return apply_curve(frames, np.rint(np.arange(256) / 255 * (levels - 1)) * 255 / (levels - 1))


def smooth_surfaces(frames: np.ndarray) -> np.ndarray:
    """A bilateral filter: flat surfaces, kept edges."""
    reach = max(1.0, frames.shape[1] * _BILATERAL_REACH)
    return np.stack([cv2.bilateralFilter(frame, -1, _BILATERAL_COLOUR, reach) for frame in frames])


def degrade(frames: np.ndarray, *, factor: float) -> np.ndarray:
    """Grey, blurred, and reduced in resolution by `factor` and back."""
    size_px = frames.shape[1]
    small = (max(1, round(size_px / factor)),) * 2
    deviation = _BLUR_PER_FACTOR * factor
    return np.stack(
        [
            cv2.resize(
                cv2.resize(cv2.GaussianBlur(frame, (0, 0), deviation), small, interpolation=cv2.INTER_AREA),
                (size_px, size_px),
                interpolation=cv2.INTER_LINEAR,
            )
            for frame in grey_frames(frames)
        ]
    )


def bend_faces(frames: np.ndarray, points: np.ndarray, bend: np.ndarray, *, keep_mouth: bool) -> np.ndarray:
    """Bend the outline of the face by thin-plate splines; frames (F, S, S, 3), points (F, 68, 2).

    A ring of points round the face moves by `bend`, and with the head; brows, eyes and nose stay in place,
    and so does the mouth where `keep_mouth`. Otherwise the mouth's points have no say: a spline that they
    shape would tell of the mouth wherever it reaches.
    """
    kept = [*SIDE_A, *SIDE_B, *_NOSE, *(MOUTH if keep_mouth else ())]
    ring, eye_distance = _ring(points[0])
    ring_of_frame = transform_points(rigid_similarity(points[0], points), ring)
    bent_of_frame = transform_points(rigid_similarity(points[0], points), ring + bend * eye_distance)
    return np.stack(
        [
            _bend(frame, fixed=face[kept], source=source, target=target)
            for frame, face, source, target in zip(frames, points, ring_of_frame, bent_of_frame, strict=True)
        ]
    )


def _converted(frames: np.ndarray, code: int) -> np.ndarray:
    return np.stack([cv2.cvtColor(frame, code) for frame in frames])


def _ring(face: np.ndarray) -> tuple[np.ndarray, float]:
    """Points round a face (68, 2), placed by its eyes alone: (RING_POINTS, 2), and the eyes' distance."""
    right, left = face[36:42].mean(axis=0).astype(np.float64), face[42:48].mean(axis=0)
    across = left - right
    down = np.array([-across[1], across[0]])
    angle = np.arange(RING_POINTS) * 2 * np.pi / RING_POINTS
    ellipse = np.stack([_RING_AXES[0] * np.cos(angle), _RING_CENTRE + _RING_AXES[1] * np.sin(angle)], axis=1)
    return (right + left) / 2 + ellipse @ np.stack([across, down]), float(np.hypot(*across))


def _bend(frame: np.ndarray, *, fixed: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Redraw a frame with `source` points moved to `target`; `fixed` points and the corners stay."""
    size_px = len(frame)
    ends = np.array([0, (size_px - 1) / 2, size_px - 1])
    corners = np.array([(x, y) for x in ends for y in ends])[[0, 1, 2, 3, 5, 6, 7, 8]]  # and halfway between
    knots = np.concatenate([target, fixed, corners])
    moves = np.zeros_like(knots)
    moves[: len(target)] = source - target
    pixels = np.arange(size_px, dtype=np.float32)
    map_x, map_y = np.moveaxis(_displacement(knots, moves, size_px=size_px), -1, 0)
    return cv2.remap(
        frame,
        map_x + pixels,
        map_y + pixels[:, np.newaxis],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _displacement(knots: np.ndarray, moves: np.ndarray, *, size_px: int) -> np.ndarray:
    """The thin-plate spline through moves (K, 2) at knots (K, 2), on every pixel: (S, S, 2) float32."""
    weights = _solve(knots / size_px, moves)
    nodes = np.linspace(0, size_px - 1, _GRID_NODES)
    grid = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2) / size_px  # (G G, 2)
    field = _basis(grid, knots / size_px) @ weights  # (G G, 2)
    field = field.reshape(_GRID_NODES, _GRID_NODES, 2).astype(np.float32)
    scale = (_GRID_NODES - 1) / (size_px - 1)
    return cv2.warpAffine(
        field,
        np.array([[scale, 0, 0], [0, scale, 0]], dtype=np.float64),
        (size_px, size_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip


def _solve(knots: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """The spline's weights (K + 3, 2): of every knot's kernel, and of 1, x and y."""
    count = len(knots)
    system = np.zeros((count + 3, count + 3))
    system[:count] = _basis(knots, knots)
    system[np.arange(count), np.arange(count)] += _SMOOTHING
    system[count:, :count] = system[:count, count:].T
    return np.linalg.solve(system, np.concatenate([moves, np.zeros((3, 2))]))


def _basis(places: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Every kernel r^2 log r^2 and the plane's terms at each place: (P, K + 3)."""
    across = np.subtract.outer(places[:, 0], knots[:, 0])
    down = np.subtract.outer(places[:, 1], knots[:, 1])
    squares = across * across + down * down
    kernels = squares * np.log(np.maximum(squares, 1e-12))
    return np.concatenate([kernels, np.ones((len(places), 1)), places], axis=1)
