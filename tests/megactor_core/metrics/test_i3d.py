"""I3D for FVD: the published names and shapes, its arithmetic written out, and its preprocessing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from megactor_core.errors import MetricError, WeightsError
from megactor_core.metrics import i3d
from megactor_core.metrics.i3d import InceptionI3d, i3d_features, load_i3d

Pictures = Callable[..., np.ndarray]
Draw = Callable[..., dict[str, Tensor]]

# Mixed layers of the file: channels in, then out of b0, b1a, b1b, b2a, b2b, b3b.
MIXED = """
Mixed_3b 192 64 96 128 16 32 32
Mixed_3c 256 128 128 192 32 96 64
Mixed_4b 480 192 96 208 16 48 64
Mixed_4c 512 160 112 224 24 64 64
Mixed_4d 512 128 128 256 24 64 64
Mixed_4e 512 112 144 288 32 64 64
Mixed_4f 528 256 160 320 32 128 128
Mixed_5b 832 256 160 320 32 128 128
Mixed_5c 832 384 192 384 48 128 128
"""


def layout() -> dict[str, tuple[int, ...]]:
    """As the file was written: converted from TensorFlow, so without counters."""
    convs = {"Conv3d_1a_7x7": (64, 3, 7), "Conv3d_2b_1x1": (64, 64, 1), "Conv3d_2c_3x3": (192, 64, 3)}
    for row in MIXED.split("\n"):
        if row:
            name, *numbers = row.split()
            c, b0, b1a, b1b, b2a, b2b, b3b = map(int, numbers)
            for branch, shape in (
                ("b0", (b0, c, 1)),
                ("b1a", (b1a, c, 1)),
                ("b1b", (b1b, b1a, 3)),
                ("b2a", (b2a, c, 1)),
                ("b2b", (b2b, b2a, 3)),
                ("b3b", (b3b, c, 1)),
            ):
                convs[f"{name}.{branch}"] = shape
    shapes: dict[str, tuple[int, ...]] = {
        "logits.conv3d.weight": (400, 1024, 1, 1, 1),
        "logits.conv3d.bias": (400,),
    }
    for name, (out, channels, kernel) in convs.items():
        shapes[f"{name}.conv3d.weight"] = (out, channels, kernel, kernel, kernel)
        shapes |= {f"{name}.bn.{p}": (out,) for p in ("weight", "bias", "running_mean", "running_var")}
    return shapes


def written_out(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """The published network, layer by layer, for sizes that halve evenly: there SAME pads (k - s) in all."""

    def same(x: Tensor, kernel: int, stride: int, *, time: bool = True) -> Tensor:
        total = kernel - stride
        pad = (total // 2, total - total // 2)
        return F.pad(x, (*pad, *pad, *(pad if time else (0, 0))))

    def unit(name: str, x: Tensor, *, stride: int = 1) -> Tensor:
        weight = w[f"{name}.conv3d.weight"]
        x = F.conv3d(same(x, weight.shape[-1], stride), weight, stride=stride)
        norm = (w[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.relu(F.batch_norm(x, *norm, eps=0.001))

    def mixed(name: str, x: Tensor) -> Tensor:
        pooled = F.max_pool3d(F.pad(x, (1,) * 6), 3, 1)
        return torch.cat(
            [
                unit(f"{name}.b0", x),
                unit(f"{name}.b1b", unit(f"{name}.b1a", x)),
                unit(f"{name}.b2b", unit(f"{name}.b2a", x)),
                unit(f"{name}.b3b", pooled),
            ],
            1,
        )

    x = unit("Conv3d_1a_7x7", x, stride=2)
    x = F.max_pool3d(same(x, 3, 2, time=False), (1, 3, 3), (1, 2, 2))
    x = unit("Conv3d_2c_3x3", unit("Conv3d_2b_1x1", x))
    x = F.max_pool3d(same(x, 3, 2, time=False), (1, 3, 3), (1, 2, 2))
    x = F.max_pool3d(same(mixed("Mixed_3c", mixed("Mixed_3b", x)), 3, 2), 3, 2)
    for letter in "bcdef":
        x = mixed(f"Mixed_4{letter}", x)
    x = mixed("Mixed_5c", mixed("Mixed_5b", F.max_pool3d(x, 2, 2)))
    x = F.avg_pool3d(x, (2, 7, 7), 1)
    x = F.conv3d(x, w["logits.conv3d.weight"], w["logits.conv3d.bias"])
    return x[..., 0, 0].mean(2)


@pytest.fixture(scope="module")
def tensors(random_tensors: Draw) -> dict[str, Tensor]:
    return random_tensors(layout())


@pytest.fixture(scope="module")
def network(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> InceptionI3d:
    path = tmp_path_factory.mktemp("fvd") / "i3d_pretrained_400.pt"
    torch.save(tensors, path)
    loaded = load_i3d(path)
    path.unlink()
    return loaded


def test_names_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        own = InceptionI3d().state_dict()
    assert {n: tuple(v.shape) for n, v in own.items() if not n.endswith("num_batches_tracked")} == layout()
    assert len(layout()) == 57 * 5 + 2


def test_features_parity_with_the_layers_written_out(
    network: InceptionI3d, tensors: dict[str, Tensor], pictures: Pictures
) -> None:
    clip = pictures(16, 224, 224)
    expected = written_out(tensors, torch.from_numpy(clip).permute(3, 0, 1, 2)[None] / 127.5 - 1)
    found = i3d_features(network, [clip], preprocessing="videogpt")
    assert found.shape == (1, 400)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_clip_s_bits_do_not_depend_on_company(network: InceptionI3d, pictures: Pictures) -> None:
    clips = [pictures(10, 60, 80, seed=seed) for seed in range(2)]
    together = i3d_features(network, clips, preprocessing="styleganv")
    np.testing.assert_array_equal(together[1:], i3d_features(network, clips[1:], preprocessing="styleganv"))
    assert not np.array_equal(together[0], together[1])


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (8, 16), (15, 15)])
def test_padding_gives_as_many_outputs_as_tensorflow(size: tuple[int, int]) -> None:
    x = torch.rand(1, 1, 4, *size)
    for kernel, stride in ((7, 2), (3, 2), (2, 2), (3, 1)):
        pooled = i3d._max_pool(x, (1, kernel, kernel), (1, stride, stride))
        assert pooled.shape[-2:] == tuple(-(-side // stride) for side in size)


def test_preprocessings_are_those_of_their_names(pictures: Pictures) -> None:
    clip = pictures(1, 120, 200)
    pixels = torch.from_numpy(clip).permute(0, 3, 1, 2) / 255
    wide = F.interpolate(pixels, (224, 374), mode="bilinear", align_corners=False)[..., 75:299] * 2 - 1
    torch.testing.assert_close(i3d._prepared(clip, whole=False)[:, 0], wide[0])
    stretched = F.interpolate(pixels, (224, 224), mode="bilinear", align_corners=False) * 2 - 1
    torch.testing.assert_close(i3d._prepared(clip, whole=True)[:, 0], stretched[0])
    tall = i3d._prepared(np.ascontiguousarray(clip.transpose(0, 2, 1, 3)), whole=False)
    torch.testing.assert_close(tall[:, 0], wide[0].transpose(1, 2))


def test_other_files_are_refused(
    tensors: dict[str, Tensor], refuses: Callable[..., None], tmp_path: Path
) -> None:
    refuses(load_i3d, tensors, tmp_path / "weights.pt")


@pytest.mark.usefixtures("empty_cache")
def test_missing_weights_name_the_command() -> None:
    with pytest.raises(WeightsError, match="megactor weights pull fvd"):
        load_i3d()


def test_short_clips_are_one_error(network: InceptionI3d) -> None:
    with pytest.raises(MetricError, match="at least 10 frames; one has 9"):
        i3d_features(network, [np.zeros((9, 32, 32, 3), np.uint8)], preprocessing="styleganv")
