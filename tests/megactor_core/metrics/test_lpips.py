"""LPIPS: the golden numbers, the published names and shapes, and what a distance has to do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from megactor_core.errors import MetricError, WeightsError
from megactor_core.media.image import read_image
from megactor_core.metrics.lpips import LPIPS, load_lpips, lpips_distances

Pictures = Callable[..., np.ndarray]
Draw = Callable[..., dict[str, Tensor]]

FEATURES = {
    0: (64, 3, 11, 11),
    3: (192, 64, 5, 5),
    6: (384, 192, 3, 3),
    8: (256, 384, 3, 3),
    10: (256, 256, 3, 3),
}
CLASSIFIER = {1: (4096, 9216), 4: (4096, 4096), 6: (1000, 4096)}


def trunk_layout() -> dict[str, tuple[int, ...]]:
    """torchvision's AlexNet."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part, layers in (("features", FEATURES), ("classifier", CLASSIFIER)):
        for number, shape in layers.items():
            shapes |= {f"{part}.{number}.weight": shape, f"{part}.{number}.bias": shape[:1]}
    return shapes


def heads_layout() -> dict[str, tuple[int, ...]]:
    return {f"lin{k}.model.1.weight": (1, shape[0], 1, 1) for k, shape in enumerate(FEATURES.values())}


@pytest.fixture(scope="module")
def tensors(random_tensors: Draw) -> dict[str, Tensor]:
    """Both files' tensors; the classifier's, which nothing reads, are one number seen many times."""
    trunk = {n: s for n, s in trunk_layout().items() if n.startswith("features")}
    drawn = random_tensors({**trunk, **heads_layout()})
    for name, shape in trunk_layout().items():
        drawn.setdefault(name, torch.zeros(1).expand(shape))
    return {name: value.abs() if name.startswith("lin") else value for name, value in drawn.items()}


@pytest.fixture(scope="module")
def files(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("lpips")
    torch.save({n: v for n, v in tensors.items() if not n.startswith("lin")}, folder / "alexnet.pth")
    torch.save({n: v for n, v in tensors.items() if n.startswith("lin")}, folder / "alex.pth")
    return folder / "alexnet.pth", folder / "alex.pth"


@pytest.fixture(scope="module")
def network(files: tuple[Path, Path]) -> LPIPS:
    return load_lpips(trunk=files[0], heads=files[1])


def test_names_and_shapes_are_those_of_the_two_files() -> None:
    own = {name: tuple(value.shape) for name, value in LPIPS().state_dict().items()}
    trunk = {name: shape for name, shape in trunk_layout().items() if name.startswith("features")}
    assert own == {**trunk, **heads_layout()}


@pytest.mark.real
def test_the_golden_distance_parity(real_data: Path, tmp_path: Path) -> None:
    """The real heads on a trunk of seed 0, whose convolutions are built in order."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convs = {
            0: nn.Conv2d(3, 64, 11, 4, 2),
            3: nn.Conv2d(64, 192, 5, 1, 2),
            6: nn.Conv2d(192, 384, 3, 1, 1),
            8: nn.Conv2d(384, 256, 3, 1, 1),
            10: nn.Conv2d(256, 256, 3, 1, 1),
        }
    trunk = {f"features.{n}.{k}": v for n, conv in convs.items() for k, v in conv.state_dict().items()}
    torch.save(trunk, tmp_path / "alexnet.pth")
    network = load_lpips(trunk=tmp_path / "alexnet.pth", heads=real_data / "weights" / "lpips_v0.1_alex.pth")
    ref, p0, p1 = (
        read_image(real_data / "portraits" / f"lpips_ex_{n}.png")[None] for n in ("ref", "p0", "p1")
    )
    assert lpips_distances(network, ref, p0)[0] == pytest.approx(0.03739659, abs=2e-8)
    a, b = (torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1 for frames in (ref, p0))
    layers = [0.0049602, 0.0114778, 0.0077655, 0.0072845, 0.0059086]
    np.testing.assert_allclose(network.layers(a, b)[0], layers, atol=6e-8)
    # What an untrained trunk gives; upstream prints 0.722 and 0.138 for the two.
    assert 0.03 < lpips_distances(network, ref, p1)[0] < 0.04


def test_distance_parity_with_its_formula(
    network: LPIPS, tensors: dict[str, Tensor], pictures: Pictures
) -> None:
    real, other = pictures(2, 70, 64), pictures(2, 70, 64, seed=5)
    shift, scale = (torch.tensor(v)[:, None, None] for v in ((-0.03, -0.088, -0.188), (0.458, 0.448, 0.45)))
    x, y = (((torch.from_numpy(f).permute(0, 3, 1, 2) / 127.5 - 1) - shift) / scale for f in (real, other))
    total = torch.zeros(2)
    for k, (number, stride, padding) in enumerate([(0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)]):
        if number in (3, 6):
            x, y = F.max_pool2d(x, 3, 2), F.max_pool2d(y, 3, 2)
        weight, bias = tensors[f"features.{number}.weight"], tensors[f"features.{number}.bias"]
        x, y = (F.relu(F.conv2d(z, weight, bias, stride, padding)) for z in (x, y))
        apart = (F.normalize(x, dim=1, eps=1e-10) - F.normalize(y, dim=1, eps=1e-10)) ** 2
        total += (apart * tensors[f"lin{k}.model.1.weight"]).sum(1).mean((1, 2))
    np.testing.assert_allclose(lpips_distances(network, real, other), total, rtol=1e-4)


def test_distance_is_zero_for_equals_symmetric_and_grows(
    network: LPIPS, pictures: Pictures, noisy: Pictures
) -> None:
    real = pictures(1, 64, 64)
    assert lpips_distances(network, real, real)[0] == 0
    values = [lpips_distances(network, real, noisy(real, deviation=s))[0] for s in (2, 8, 24)]
    assert 0 < values[0] < values[1] < values[2]
    other = noisy(real, deviation=8)
    assert lpips_distances(network, other, real)[0] == pytest.approx(values[1], rel=1e-6)


def test_a_pair_s_bits_do_not_depend_on_company(network: LPIPS, pictures: Pictures, noisy: Pictures) -> None:
    real = pictures(3, 64, 80)
    other = noisy(real, deviation=9)
    together = lpips_distances(network, real, other)
    np.testing.assert_array_equal(together[1:], lpips_distances(network, real[1:], other[1:]))
    assert len(set(together)) == 3


def test_other_files_are_refused(
    tensors: dict[str, Tensor], files: tuple[Path, Path], refuses: Callable[..., None], tmp_path: Path
) -> None:
    trunk = {name: value for name, value in tensors.items() if name.startswith("features")}
    heads = {name: value for name, value in tensors.items() if name.startswith("lin")}
    refuses(lambda path: load_lpips(trunk=path, heads=files[1]), trunk, tmp_path / "a.pth")
    refuses(lambda path: load_lpips(trunk=files[0], heads=path), heads, tmp_path / "b.pth")


@pytest.mark.usefixtures("empty_cache")
def test_missing_weights_name_the_command() -> None:
    with pytest.raises(WeightsError, match="megactor weights pull lpips"):
        load_lpips()


def test_what_cannot_be_compared_is_one_error(network: LPIPS) -> None:
    frames = np.zeros((1, 30, 64, 3), np.uint8)
    with pytest.raises(MetricError, match="at least 31 pixels; the frames have 64x30"):
        lpips_distances(network, frames, frames)
    with pytest.raises(MetricError, match="pictures of one shape"):
        network(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 65))
    tall = np.zeros((1, 31, 31, 3), np.uint8)
    assert lpips_distances(network, tall, tall)[0] == 0
