"""The march: where rays meet surfaces whose shape is known."""

import cv2
import numpy as np
import pytest

from megactor_core.synthetic.chart import Chart
from megactor_core.synthetic.face import rotation_matrix
from megactor_core.synthetic.raycast import View, Window, cast
from megactor_core.synthetic.state import FaceState

CHART = Chart.for_scale(60)
UNIT_PX = 60.0


def _view(state: FaceState) -> View:
    return View(rotation_matrix(state), (99.5, 99.5), UNIT_PX, bend=(0.0, 0.0), bend_y=1.4)


def _ball(radius: float) -> np.ndarray:
    """A ball about the origin as a radius map."""
    column = np.sqrt(np.maximum(radius**2 - CHART.y**2, 0)) - 0.2 * (np.abs(CHART.y) > radius)
    return np.ascontiguousarray(np.broadcast_to(column, (CHART.height, CHART.width)), np.float32)


@pytest.mark.parametrize("cell_px", [1, 2])
@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (35, 0, 0), (-20, 18, 25)])
def test_a_ball_is_a_disc_however_it_is_turned(cell_px: int, yaw: float, pitch: float, roll: float) -> None:
    view = _view(FaceState(yaw_degrees=yaw, pitch_degrees=pitch, roll_degrees=roll))
    window = Window(0, 0, 200 // cell_px, 200 // cell_px, cell_px)
    hits, _ = cast(CHART, _ball(0.8), view, window)
    x, y = window.centres()
    away = np.hypot(x - 99.5, y - 99.5)
    assert (hits.alpha[away < 0.8 * UNIT_PX - 2 * cell_px] == 1).all()
    assert (hits.alpha[away > 0.8 * UNIT_PX + 2 * cell_px] == 0).all()


def test_hits_project_back_to_their_pixels() -> None:
    view = _view(FaceState(yaw_degrees=25, pitch_degrees=-10, roll_degrees=8))
    window = Window(60, 60, 80, 80, 1)
    radius = _ball(0.8)
    hits, _ = cast(CHART, radius, view, window)
    phi = hits.columns.ravel() / CHART.columns_per_radian - 2.3
    y = hits.rows.ravel() / CHART.rows_per_unit - 1.42
    seen = view.project(phi, y, np.sqrt(0.8**2 - np.minimum(y**2, 0.64)))
    x, down = window.centres()
    expected = np.stack(np.broadcast_arrays(x, down), axis=-1).reshape(-1, 2)
    inner = np.hypot(*(expected - 99.5).T) < 0.6 * UNIT_PX
    np.testing.assert_allclose(seen[inner], expected[inner], atol=0.25)


def test_what_is_behind_an_overhang_is_found() -> None:
    """A wide top over a thin stalk: rays that graze the top reach the stalk behind it."""
    radius = np.where(CHART.y < 0, 0.8, 0.3) - 2.0 * (np.abs(CHART.y) > 1.2)
    radius = np.ascontiguousarray(np.broadcast_to(radius, (CHART.height, CHART.width)), np.float32)
    hits, _ = cast(CHART, radius, _view(FaceState(pitch_degrees=10)), Window(0, 0, 200, 200, 1))
    stalk = hits.alpha[125:150]
    assert (stalk[:, 86:114] == 1).all()
    assert (stalk[:, :75] == 0).all()
    assert (stalk[:, 125:] == 0).all()


def test_edges_before_something_further_away_are_pixel_sharp() -> None:
    """A broad rod over a narrow one, seen from above: beside its rim every pixel looks at its own place."""
    radius = np.where(CHART.y < 0.2, 0.8, 0.5) - 2.0 * (np.abs(CHART.y) > 1.2)
    radius = np.ascontiguousarray(np.broadcast_to(radius, (CHART.height, CHART.width)), np.float32)
    view = _view(FaceState(pitch_degrees=-25))
    _, edges = cast(CHART, radius, view, Window(0, 0, 100, 100, 2))
    assert edges is not None
    rows, columns = edges.at
    rim = (np.abs(columns - 99.5) < 0.4 * UNIT_PX) & (np.abs(rows - 127) < 8)
    assert rim.sum() > 100
    across, down = edges.hits.columns[:, rim], edges.hits.rows[:, rim]
    away = cv2.remap(radius, across, down, cv2.INTER_LINEAR)[0]
    seen = view.project(
        across[0] / CHART.columns_per_radian - 2.3, down[0] / CHART.rows_per_unit - 1.42, away
    )
    wrong = np.hypot(*(seen - np.stack([columns, rows], axis=1)[rim]).T)
    upper = down[0] < CHART.row(0.2)
    assert upper.any()
    assert not upper.all()
    assert np.quantile(wrong, 0.95) < 0.5
    assert (edges.hits.alpha == 1).all()


def test_pixels_need_no_edges() -> None:
    _, edges = cast(CHART, _ball(0.8), _view(FaceState()), Window(0, 0, 200, 200, 1))
    assert edges is None
