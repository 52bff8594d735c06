"""The box that a head may cover: all of the head lies in it, and little else."""

import numpy as np
import pytest

from megactor_core.synthetic.face import FaceRenderer
from megactor_core.synthetic.identity import draw_identity
from megactor_core.synthetic.raycast import Window, cast
from megactor_core.synthetic.state import FaceState

SIZE_PX = 128


@pytest.mark.parametrize("seed", [0, 3, 8, 13, 18, 20])  # crop, long, bald, curly, long, with a knot
@pytest.mark.parametrize(
    "state",
    [
        FaceState(),
        FaceState(yaw_degrees=35, pitch_degrees=15, roll_degrees=-12, mouth_open=1.2),
        FaceState(yaw_degrees=-35, pitch_degrees=-18, roll_degrees=12, mouth_open=1.2),
    ],
)
def test_nothing_of_the_head_is_outside(seed: int, state: FaceState) -> None:
    renderer = FaceRenderer(draw_identity(seed), size_px=SIZE_PX)
    jaw = renderer._jaw.dropped(state)
    view, _ = renderer._view(state)
    hits, _ = cast(renderer.chart, jaw.moved(renderer._radius), view, Window(0, 0, SIZE_PX, SIZE_PX, 1))
    opacity = jaw.moved(renderer._painted[..., 3])
    columns, rows = (part.round().astype(int) for part in (hits.columns, hits.rows))
    there = opacity[np.clip(rows, 0, opacity.shape[0] - 1), np.clip(columns, 0, opacity.shape[1] - 1)] > 0
    there &= hits.alpha > 0.2
    (left, top), (right, bottom) = renderer._hull.box(view)
    covered = np.zeros_like(there)
    covered[max(top, 0) : bottom, max(left, 0) : right] = True
    assert not (there & ~covered).any()
    assert covered.sum() < 2.2 * there.sum()
