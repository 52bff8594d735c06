"""InceptionV3 for FID: the published names and shapes, its arithmetic written out, and its preprocessing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from megactor_core.errors import MetricError, WeightsError
from megactor_core.metrics import inception
from megactor_core.metrics.inception import InceptionV3, inception_features, load_inception

Pictures = Callable[..., np.ndarray]
Draw = Callable[..., dict[str, Tensor]]

# Every convolution of the file: name, channels in, out, kernel.
STEM = """
Conv2d_1a_3x3 3 32 3 3
Conv2d_2a_3x3 32 32 3 3
Conv2d_2b_3x3 32 64 3 3
Conv2d_3b_1x1 64 80 1 1
Conv2d_4a_3x3 80 192 3 3
"""
A = """
branch1x1 {c} 64 1 1
branch5x5_1 {c} 48 1 1
branch5x5_2 48 64 5 5
branch3x3dbl_1 {c} 64 1 1
branch3x3dbl_2 64 96 3 3
branch3x3dbl_3 96 96 3 3
branch_pool {c} {m} 1 1
"""
B = """
branch3x3 {c} 384 3 3
branch3x3dbl_1 {c} 64 1 1
branch3x3dbl_2 64 96 3 3
branch3x3dbl_3 96 96 3 3
"""
C = """
branch1x1 {c} 192 1 1
branch7x7_1 {c} {m} 1 1
branch7x7_2 {m} {m} 1 7
branch7x7_3 {m} 192 7 1
branch7x7dbl_1 {c} {m} 1 1
branch7x7dbl_2 {m} {m} 7 1
branch7x7dbl_3 {m} {m} 1 7
branch7x7dbl_4 {m} {m} 7 1
branch7x7dbl_5 {m} 192 1 7
branch_pool {c} 192 1 1
"""
D = """
branch3x3_1 {c} 192 1 1
branch3x3_2 192 320 3 3
branch7x7x3_1 {c} 192 1 1
branch7x7x3_2 192 192 1 7
branch7x7x3_3 192 192 7 1
branch7x7x3_4 192 192 3 3
"""
E = """
branch1x1 {c} 320 1 1
branch3x3_1 {c} 384 1 1
branch3x3_2a 384 384 1 3
branch3x3_2b 384 384 3 1
branch3x3dbl_1 {c} 448 1 1
branch3x3dbl_2 448 384 3 3
branch3x3dbl_3a 384 384 1 3
branch3x3dbl_3b 384 384 3 1
branch_pool {c} 192 1 1
"""
MIXED = {
    "5b": (A, 192, 32),
    "5c": (A, 256, 64),
    "5d": (A, 288, 64),
    "6a": (B, 288, 0),
    "6b": (C, 768, 128),
    "6c": (C, 768, 160),
    "6d": (C, 768, 160),
    "6e": (C, 768, 192),
    "7a": (D, 768, 0),
    "7b": (E, 1280, 0),
    "7c": (E, 2048, 0),
}


def layout() -> dict[str, tuple[int, ...]]:
    rows = STEM
    for name, (block, channels, middle) in MIXED.items():
        rows += block.format(c=channels, m=middle).replace("\nb", f"\nMixed_{name}.b")
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for row in rows.split("\n"):
        if row:
            name, *numbers = row.split()
            channels, out, height, width = map(int, numbers)
            shapes[f"{name}.conv.weight"] = (out, channels, height, width)
            shapes |= {f"{name}.bn.{p}": (out,) for p in ("weight", "bias", "running_mean", "running_var")}
            shapes[f"{name}.bn.num_batches_tracked"] = ()
    return shapes


def written_out(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """The published network, layer by layer."""

    def conv(name: str, x: Tensor, *, stride: int = 1, pad: int | tuple[int, int] = 0) -> Tensor:
        x = F.conv2d(x, w[f"{name}.conv.weight"], stride=stride, padding=pad)
        norm = (w[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.relu(F.batch_norm(x, *norm, eps=0.001))

    def chain(prefix: str, x: Tensor, *steps: tuple[str, int | tuple[int, int]]) -> Tensor:
        for name, pad in steps:
            x = conv(f"{prefix}.{name}", x, pad=pad)
        return x

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    across, down = (0, 3), (3, 0)
    x = conv("Conv2d_2a_3x3", conv("Conv2d_1a_3x3", x, stride=2))
    x = F.max_pool2d(conv("Conv2d_2b_3x3", x, pad=1), 3, 2)
    x = F.max_pool2d(conv("Conv2d_4a_3x3", conv("Conv2d_3b_1x1", x)), 3, 2)
    for m in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        double = chain(m, x, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1), ("branch3x3dbl_3", 1))
        five = chain(m, x, ("branch5x5_1", 0), ("branch5x5_2", 2))
        x = torch.cat([chain(m, x, ("branch1x1", 0)), five, double, chain(m, mean(x), ("branch_pool", 0))], 1)
    m = "Mixed_6a"
    double = chain(m, x, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1))
    double = conv(f"{m}.branch3x3dbl_3", double, stride=2)
    x = torch.cat([conv(f"{m}.branch3x3", x, stride=2), double, F.max_pool2d(x, 3, 2)], 1)
    for m in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        single = chain(m, x, ("branch7x7_1", 0), ("branch7x7_2", across), ("branch7x7_3", down))
        double = chain(m, x, ("branch7x7dbl_1", 0), ("branch7x7dbl_2", down), ("branch7x7dbl_3", across))
        double = chain(m, double, ("branch7x7dbl_4", down), ("branch7x7dbl_5", across))
        x = torch.cat(
            [chain(m, x, ("branch1x1", 0)), single, double, chain(m, mean(x), ("branch_pool", 0))], 1
        )
    m = "Mixed_7a"
    three = conv(f"{m}.branch3x3_2", chain(m, x, ("branch3x3_1", 0)), stride=2)
    seven = chain(m, x, ("branch7x7x3_1", 0), ("branch7x7x3_2", across), ("branch7x7x3_3", down))
    seven = conv(f"{m}.branch7x7x3_4", seven, stride=2)
    x = torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)
    for m in ("Mixed_7b", "Mixed_7c"):
        three = chain(m, x, ("branch3x3_1", 0))
        double = chain(m, x, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1))
        parts = [chain(m, x, ("branch1x1", 0))]
        for stem, names in ((three, "branch3x3_2"), (double, "branch3x3dbl_3")):
            parts += [chain(m, stem, (f"{names}a", (0, 1))), chain(m, stem, (f"{names}b", (1, 0)))]
        pooled = mean(x) if m == "Mixed_7b" else F.max_pool2d(x, 3, 1, 1)
        x = torch.cat([*parts, chain(m, pooled, ("branch_pool", 0))], 1)
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


@pytest.fixture(scope="module")
def tensors(random_tensors: Draw) -> dict[str, Tensor]:
    return random_tensors(layout())


@pytest.fixture(scope="module")
def network(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> InceptionV3:
    path = tmp_path_factory.mktemp("fid") / "pt_inception.pth"
    torch.save(tensors, path)
    loaded = load_inception(path)
    path.unlink()
    return loaded


def test_names_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        own = {name: tuple(value.shape) for name, value in InceptionV3().state_dict().items()}
    assert own == layout()
    # torchvision's has 27,161,264 with 1000 classes, 3,326,696 of them in its auxiliary head.
    parameters = sum(value.numel() for value in InceptionV3().parameters())
    assert parameters == 27_161_264 - 3_326_696 + 8 * 2049


def test_features_parity_with_the_layers_written_out(
    network: InceptionV3, tensors: dict[str, Tensor], pictures: Pictures
) -> None:
    frame = pictures(1, 299, 299)
    pixels = torch.from_numpy(frame).permute(0, 3, 1, 2) / 127.5 - 1
    expected = written_out(tensors, pixels)
    found = inception_features(network, frame, preprocessing="pytorch-fid")
    assert found.shape == (1, 2048)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_a_frame_s_bits_do_not_depend_on_company_or_threads(network: InceptionV3, pictures: Pictures) -> None:
    frames = pictures(3, 40, 60)
    together = inception_features(network, frames, preprocessing="clean")
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        alone = inception_features(network, frames[2:], preprocessing="clean")
        assert torch.get_num_threads() == 3 - min(threads, 2)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(together[2:], alone)
    assert not np.array_equal(together[0], together[1])


def test_preprocessings_are_those_of_their_names(pictures: Pictures) -> None:
    frame = pictures(1, 400, 620)[0]
    plain, clean = inception._pytorch_fid(frame), inception._clean(frame)
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None] / 255
    expected = F.interpolate(pixels, (299, 299), mode="bilinear", align_corners=False)[0] * 2 - 1
    torch.testing.assert_close(plain, expected)
    whole = np.asarray(Image.fromarray(frame).resize((299, 299), Image.Resampling.BICUBIC), dtype=np.float32)
    rounded = torch.from_numpy(whole).permute(2, 0, 1)
    # Of 8-bit pictures Pillow rounds between its two passes and after them; clean does neither.
    assert 0 < (clean * 128 + 128 - rounded).abs().mean() < 0.5
    assert clean.shape == plain.shape == (3, 299, 299)
    # Shrinking without smoothing keeps a pattern that smoothing makes grey.
    stripes = np.zeros((300, 1196, 3), np.uint8)
    stripes[:, 1::8] = 255
    assert inception._pytorch_fid(stripes).std() > 2 * inception._clean(stripes).std()


def test_other_files_are_refused(
    tensors: dict[str, Tensor], refuses: Callable[..., None], tmp_path: Path
) -> None:
    refuses(load_inception, tensors, tmp_path / "weights.pth")


@pytest.mark.usefixtures("empty_cache")
def test_missing_weights_name_the_command() -> None:
    with pytest.raises(WeightsError, match="megactor weights pull fid"):
        load_inception()


def test_what_are_no_frames_is_one_error(network: InceptionV3) -> None:
    with pytest.raises(MetricError, match=r"float32, not \(frames, height, width, 3\) uint8"):
        inception_features(network, np.zeros((1, 9, 9, 3), np.float32), preprocessing="clean")
