"""The radius map: symmetric, finite, a nose in front, a neck below."""

import numpy as np

from megactor_core.synthetic.chart import Chart
from megactor_core.synthetic.identity import draw_identity
from megactor_core.synthetic.relief import skin_radius, surface_normals, underside

CHART = Chart.for_scale(40)


def _at(picture: np.ndarray, phi: float, y: float) -> float:
    column, row = CHART.pixels(np.array([phi, y])).round().astype(int)
    return float(picture[row, column])


def test_faces_are_symmetric() -> None:
    radius = skin_radius(CHART, draw_identity(4))
    np.testing.assert_allclose(radius, radius[:, ::-1], atol=2e-4)


def test_the_nose_stands_out_and_the_eyes_lie_deep() -> None:
    identity = draw_identity(5)
    radius = skin_radius(CHART, identity)
    tip, eye, forehead = (
        _at(radius, *place) for place in ((0, identity.nose.base_y - 0.05), (0.2, 0.0), (0, -0.4))
    )
    assert tip > forehead + 0.1
    assert eye < forehead


def test_the_neck_is_behind_the_chin() -> None:
    radius = skin_radius(CHART, draw_identity(6))
    assert _at(radius, 0, 1.3) < 0.5 * _at(radius, 0, 0.9)
    cover = underside(CHART)
    assert _at(cover, 0, 0.8) == 0
    assert _at(cover, 0, 1.4) == 1


def test_normals_are_unit_and_point_outwards() -> None:
    radius = skin_radius(CHART, draw_identity(7))
    normals = surface_normals(CHART, radius)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-3)
    outwards = normals[..., 0] * np.sin(CHART.phi) + normals[..., 2] * np.cos(CHART.phi)
    assert (outwards[radius > 0.1] > -0.05).all()
    assert _at(normals[..., 1], 0, -1.0) < -0.5  # the crown faces up, and y is downwards
