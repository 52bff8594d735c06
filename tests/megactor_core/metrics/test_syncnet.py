"""SyncNet: the golden scores, the published names and shapes, and the windows of picture and sound."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from megactor_core.errors import MetricError, WeightsError
from megactor_core.metrics.mfcc import mfcc
from megactor_core.metrics.syncnet import (
    SyncNet,
    audio_features,
    clip_features,
    lip_features,
    load_syncnet,
    sync_over_time,
    sync_scores,
    window_count,
)

Pictures = Callable[..., np.ndarray]
Draw = Callable[..., dict[str, Tensor]]

CONVS = {
    "netcnnaud": {
        0: (64, 1, 3, 3),
        4: (192, 64, 3, 3),
        8: (384, 192, 3, 3),
        11: (256, 384, 3, 3),
        14: (256, 256, 3, 3),
        18: (512, 256, 5, 4),
    },
    "netcnnlip": {
        0: (96, 3, 5, 7, 7),
        4: (256, 96, 1, 5, 5),
        8: (256, 256, 1, 3, 3),
        11: (256, 256, 1, 3, 3),
        14: (256, 256, 1, 3, 3),
        18: (512, 256, 1, 6, 6),
    },
    "netfcaud": {0: (512, 512)},
    "netfclip": {0: (512, 512)},
}
"""Every layer with a normalisation after it."""


def layout() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for part, layers in CONVS.items():
        for number, shape in layers.items():
            shapes |= {f"{part}.{number}.weight": shape, f"{part}.{number}.bias": shape[:1]}
            norm = f"{part}.{number + 1}"
            shapes |= {f"{norm}.{p}": shape[:1] for p in ("weight", "bias", "running_mean", "running_var")}
            shapes[f"{norm}.num_batches_tracked"] = ()
    for part in ("netfcaud", "netfclip"):
        shapes |= {f"{part}.3.weight": (1024, 512), f"{part}.3.bias": (1024,)}
    return shapes


@pytest.fixture(scope="module")
def tensors(random_tensors: Draw) -> dict[str, Tensor]:
    return random_tensors(layout())


@pytest.fixture(scope="module")
def network(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> SyncNet:
    path = tmp_path_factory.mktemp("syncnet") / "syncnet_v2.model"
    torch.save(tensors, path)
    loaded = load_syncnet(path)
    path.unlink()
    return loaded


def test_names_and_shapes_are_the_published_ones() -> None:
    network = SyncNet()
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert own == layout()
    assert len(own) == 102
    assert sum(value.numel() for value in network.parameters()) == 13_631_616
    assert sum(value.nbytes for value in network.state_dict().values()) == 54_561_136


@pytest.mark.real
@pytest.mark.parametrize(
    ("offset", "distance", "confidence"), [(0, 9.594395, 35.613903), (3, 10.154912, 35.090458)]
)
def test_the_golden_scores_parity(real_data: Path, offset: int, distance: float, confidence: float) -> None:
    with np.load(real_data / "golden" / f"golden_syncscore_shift{offset}.npz") as golden:
        scores = sync_scores(golden["im"].astype(np.float32), golden["cc"].astype(np.float32))
    assert scores[0] == offset
    assert scores == pytest.approx((offset, distance, confidence), abs=5e-6)


def test_scores_parity_with_torch_s_pairwise_distance() -> None:
    rng = np.random.default_rng(0)
    lip, audio = (rng.normal(size=(20, 1024)).astype(np.float32) for _ in range(2))
    padded = F.pad(torch.from_numpy(audio), (0, 0, 15, 15))
    rows = [
        F.pairwise_distance(torch.from_numpy(lip[[v]]).repeat(31, 1), padded[v : v + 31]) for v in range(20)
    ]
    mean = torch.stack(rows, 1).mean(1)
    distance, best = mean.min(0)
    scores = sync_scores(lip, audio)
    expected = (15 - int(best), float(distance), float(mean.median() - distance))
    assert scores == pytest.approx(expected, rel=1e-6)


@given(st.integers(-15, 15))
def test_sound_that_is_earlier_has_a_positive_offset(shift: int) -> None:
    rng = np.random.default_rng(3)
    audio = rng.normal(size=(60, 1024)).astype(np.float32)
    # The lips at window i match the sound at window i - shift.
    lip = np.roll(audio, shift, axis=0) + rng.normal(scale=0.1, size=audio.shape)
    assert sync_scores(lip, audio).offset == shift


def test_confidence_over_time_falls_where_lips_and_speech_part() -> None:
    rng = np.random.default_rng(4)
    audio = rng.normal(size=(80, 1024)).astype(np.float32)
    lip = audio + rng.normal(scale=0.1, size=audio.shape).astype(np.float32)
    lip[50:] = rng.normal(size=(30, 1024))
    confidence = sync_over_time(lip, audio)
    assert confidence.shape == (80,)
    assert confidence[10:40].min() > 30
    assert confidence[55:75].max() < 5


def test_lip_features_parity_with_the_layers_written_out(
    network: SyncNet, tensors: dict[str, Tensor], pictures: Pictures
) -> None:
    frames = pictures(6, 224, 224)
    # BGR in 0..255, five frames a window.
    x = torch.from_numpy(np.ascontiguousarray(frames[1:6, ..., ::-1])).permute(3, 0, 1, 2)[None].float()

    def layer(x: Tensor, number: int, *, stride: int = 1, pad: int = 0) -> Tensor:
        w = {k: tensors[f"netcnnlip.{number}.{k}"] for k in ("weight", "bias")}
        x = F.conv3d(x, w["weight"], w["bias"], (1, stride, stride), (0, pad, pad))
        n = (
            tensors[f"netcnnlip.{number + 1}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu(F.batch_norm(x, *n))

    x = F.max_pool3d(layer(x, 0, stride=2), (1, 3, 3), (1, 2, 2))
    x = F.max_pool3d(layer(x, 4, stride=2, pad=1), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    x = layer(layer(layer(x, 8, pad=1), 11, pad=1), 14, pad=1)
    x = layer(F.max_pool3d(x, (1, 3, 3), (1, 2, 2)), 18)
    expected = head(tensors, "netfclip", x.flatten(1))
    found = lip_features(network, frames)
    assert found.shape == (2, 1024)
    np.testing.assert_allclose(found[1:], expected, rtol=1e-3, atol=1e-2 * float(expected.std()))


def test_audio_features_parity_with_the_layers_written_out(
    network: SyncNet, tensors: dict[str, Tensor]
) -> None:
    samples = np.random.default_rng(5).normal(scale=0.1, size=640 * 10)
    found = audio_features(network, samples)
    x = torch.from_numpy(mfcc(samples)[8:28].T.astype(np.float32))[None, None]  # the third window

    def layer(x: Tensor, number: int, *, pad: int = 1) -> Tensor:
        x = F.conv2d(
            x, tensors[f"netcnnaud.{number}.weight"], tensors[f"netcnnaud.{number}.bias"], padding=pad
        )
        n = (
            tensors[f"netcnnaud.{number + 1}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu(F.batch_norm(x, *n))

    x = F.max_pool2d(layer(layer(x, 0), 4), 3, (1, 2))
    x = F.max_pool2d(layer(layer(layer(x, 8), 11), 14), 3, 2)
    expected = head(tensors, "netfcaud", layer(x, 18, pad=0).flatten(1))
    assert found.shape == (5, 1024)  # 39 columns hold five windows of 20, four apart
    np.testing.assert_allclose(found[2:3], expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def head(tensors: dict[str, Tensor], part: str, x: Tensor) -> Tensor:
    x = F.linear(x, tensors[f"{part}.0.weight"], tensors[f"{part}.0.bias"])
    n = (tensors[f"{part}.1.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    x = F.relu(F.batch_norm(x, *n))
    return F.linear(x, tensors[f"{part}.3.weight"], tensors[f"{part}.3.bias"])


def test_a_clip_has_equally_many_windows_of_both(network: SyncNet, pictures: Pictures) -> None:
    frames = pictures(9, 224, 224)
    samples = np.random.default_rng(6).normal(scale=0.1, size=640 * 8 + 100)
    lip, audio = clip_features(network, frames, samples)
    assert lip.shape == audio.shape == (3, 1024)  # eight whole frames of sound, less five
    np.testing.assert_array_equal(lip[1:], lip_features(network, frames[1:7], windows=2))
    assert len(sync_scores(lip, audio)) == 3


@given(st.integers(6, 90), st.integers(0, 639))
def test_the_sound_has_room_for_the_windows_of_its_frames(frames: int, more: int) -> None:
    samples = frames * 640 + more
    columns = 1 + -(-(samples - 400) // 160)
    assert 4 * (window_count(frames=frames, samples=samples) - 1) + 20 <= columns


def test_other_files_are_refused(
    tensors: dict[str, Tensor], refuses: Callable[..., None], tmp_path: Path
) -> None:
    refuses(load_syncnet, tensors, tmp_path / "syncnet_v2.model")


@pytest.mark.usefixtures("empty_cache")
def test_missing_weights_name_the_command() -> None:
    with pytest.raises(WeightsError, match="megactor weights pull syncnet"):
        load_syncnet()


def test_bad_clips_are_one_error(network: SyncNet) -> None:
    crops = np.zeros((5, 224, 224, 3), np.uint8)
    with pytest.raises(MetricError, match="the clip has 5 frames and 64000 samples"):
        clip_features(network, crops, np.zeros(64_000))
    with pytest.raises(MetricError, match="224x224 pixels, not 300x224"):
        lip_features(network, np.zeros((5, 224, 300, 3), np.uint8))
    with pytest.raises(MetricError, match="room for 1 windows, and 2"):
        lip_features(network, crops, windows=2)
    with pytest.raises(MetricError, match="room for 0 windows"):
        audio_features(network, np.zeros(640))
    with pytest.raises(MetricError, match=r"\(3, 1024\), those of the sound \(4, 1024\)"):
        sync_scores(np.zeros((3, 1024)), np.zeros((4, 1024)))
    with pytest.raises(MetricError, match="not finite"):
        sync_scores(np.full((3, 1024), np.nan), np.zeros((3, 1024)))
