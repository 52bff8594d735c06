"""The gauge reads frames of one size, however many, and is the same after it was written and read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from megactor_core.errors import MetricError, WeightsError
from megactor_core.metrics.gauge import (
    MOUTH_PATCH,
    SIZE_PX,
    TRAITS,
    WEIGHTS,
    Gauge,
    GaugeNetwork,
    cut_patches,
    load_gauge,
    save_gauge,
)

Pictures = Callable[..., np.ndarray]
MIDDLE = (SIZE_PX - 1) / 2


@pytest.fixture(scope="module")
def gauge() -> Gauge:
    """Not fitted, with means and spreads that are not 0 and 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = GaugeNetwork()
    network.get_buffer("trait_mean").copy_(torch.arange(len(TRAITS)))
    network.get_buffer("trait_std").fill_(0.5)
    return Gauge(network, {"held_out": {"loss": 0.25}})


def test_written_and_read_it_reads_the_same(gauge: Gauge, pictures: Pictures, tmp_path: Path) -> None:
    frames = pictures(3, SIZE_PX, SIZE_PX)
    save_gauge(tmp_path / "gauge", gauge)
    again = load_gauge(tmp_path / "gauge")
    assert again.facts == gauge.facts
    np.testing.assert_array_equal(again.read(frames).traits, gauge.read(frames).traits)
    np.testing.assert_array_equal(again.read(frames).points, gauge.read(frames).points)


def test_a_reading_does_not_depend_on_the_frames_beside_it(gauge: Gauge, pictures: Pictures) -> None:
    frames = pictures(34, SIZE_PX, SIZE_PX)
    together, alone = gauge.read(frames), gauge.read(iter(frames[33:]))
    np.testing.assert_allclose(together.traits[33:], alone.traits, atol=1e-5)
    np.testing.assert_allclose(together.points[33:], alone.points, atol=1e-3)


def test_readings_are_in_their_own_units(gauge: Gauge, pictures: Pictures) -> None:
    frames = pictures(2, SIZE_PX, SIZE_PX)
    found = gauge.read(frames)
    with torch.no_grad():
        plain, _ = gauge.network(torch.from_numpy(frames).permute(0, 3, 1, 2) / 255)
    column = TRAITS.index("yaw_degrees")
    np.testing.assert_allclose(found.trait("yaw_degrees"), plain[:, column] * 0.5 + column, atol=1e-5)


def test_a_landmark_is_its_maps_centre_of_gravity(pictures: Pictures) -> None:
    network = GaugeNetwork()
    torch.nn.init.zeros_(network.maps.weight)
    torch.nn.init.zeros_(network.maps.bias)
    points = Gauge(network, {}).read(pictures(1, SIZE_PX, SIZE_PX)).points
    np.testing.assert_allclose(points, MIDDLE, atol=1e-3)  # even maps: the middle of the picture
    maps = torch.full((1, 1, 32, 32), -50.0)
    maps[0, 0, 4, 20] = 50.0  # row 4, column 20 of blocks of four pixels
    centre = network._centres(maps.flatten(2).softmax(-1).view_as(maps))
    np.testing.assert_allclose(centre[0, 0], [20 * 4 + 1.5, 4 * 4 + 1.5], atol=1e-4)


def test_a_patch_shows_the_same_part_of_small_and_large_faces() -> None:
    rows, columns = MOUTH_PATCH.rows, MOUTH_PATCH.columns
    for centre, eyes_px in (((50.0, 70.0), 30.0), ((64.0, 60.0), 50.0)):
        points = torch.zeros(1, 68, 2)
        points[0, 45, 0] = eyes_px
        points[0, 48:68] = torch.tensor(centre)
        at = torch.arange(128.0)
        ramp = torch.stack([at.expand(128, 128), at[:, None].expand(128, 128), torch.zeros(128, 128)])
        patch = cut_patches(ramp[None], points, MOUTH_PATCH)[0]  # its colours are the places they are from
        assert patch.shape == (3, rows, columns)
        torch.testing.assert_close(patch[:2].mean(dim=(1, 2)), torch.tensor(centre), atol=1e-3, rtol=0)
        width = (patch[0, 0, -1] - patch[0, 0, 0]).item() * columns / (columns - 1)
        height = (patch[1, -1, 0] - patch[1, 0, 0]).item() * rows / (rows - 1)
        assert width == pytest.approx(MOUTH_PATCH.width * eyes_px, rel=1e-4)
        assert height / width == pytest.approx(rows / columns, rel=1e-4)


def test_frames_of_another_size_are_refused(gauge: Gauge, pictures: Pictures) -> None:
    with pytest.raises(MetricError, match="96x96 pixels; the gauge reads 128x128"):
        gauge.read(pictures(1, 96, 96))
    with pytest.raises(MetricError, match="uint8"):
        gauge.read(pictures(1, SIZE_PX, SIZE_PX) / 255)


def test_a_damaged_gauge_is_one_clear_error(gauge: Gauge, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no gauge"):
        load_gauge(tmp_path / "nowhere")
    save_gauge(tmp_path / "gauge", gauge)
    weights = tmp_path / "gauge" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="holds no gauge"):
        load_gauge(tmp_path / "gauge")
