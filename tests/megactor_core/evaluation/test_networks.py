"""Weights: found by name or by path, known by their hash; and the real networks in a whole evaluation."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from megactor_core.config.evaluate import EvaluateConfig, NetworkFiles
from megactor_core.errors import WeightsError
from megactor_core.evaluation.networks import load_networks, locate, missing_together
from megactor_core.evaluation.run import evaluate
from megactor_core.metrics.i3d import InceptionI3d
from megactor_core.metrics.inception import InceptionV3
from megactor_core.metrics.lpips import LPIPS
from megactor_core.metrics.syncnet import SyncNet

MakeClip = Callable[..., Path]


def test_own_files_are_found_and_hashed(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_text(name)
    own = NetworkFiles(lpips_trunk=tmp_path / "a.pth", lpips_heads=tmp_path / "b.pth")
    located, absent = locate(["psnr", "lpips"], own)
    assert absent == {}
    assert located.keys() == {"lpips"}
    assert located["lpips"].sha256 == tuple(
        hashlib.sha256(name.encode()).hexdigest() for name in ("a.pth", "b.pth")
    )


def test_what_is_missing_names_its_command(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_text("")
    own = NetworkFiles(lpips_trunk=tmp_path / "a.pth", fid=tmp_path / "nowhere.pth")
    located, absent = locate(["lpips", "fid", "fvd", "sync"], own)
    assert located == {}
    assert "megactor weights pull lpips" in absent["lpips"].fix  # its heads
    assert "There is no weights file" in absent["fid"].message
    assert "megactor weights pull fvd" in absent["fvd"].fix
    together = missing_together({metric: absent[metric] for metric in ("fvd", "sync")})
    assert "megactor weights pull fvd syncnet" in together.fix
    assert missing_together({"sync": absent["sync"]}) is absent["sync"]


def test_a_damaged_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "fid.pth").write_text("no weights")
    located, _ = locate(["fid"], NetworkFiles(fid=tmp_path / "fid.pth"))
    with pytest.raises(WeightsError, match=r"fid\.pth"):
        load_networks(located, device="cpu")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random weights in the published layouts."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    networks: dict[str, nn.Module] = {"fid": InceptionV3(), "fvd": InceptionI3d(), "syncnet": SyncNet()}
    tensors = {name: network.state_dict() for name, network in networks.items()}
    lpips = LPIPS().state_dict()
    tensors["lpips_trunk"] = {k: v for k, v in lpips.items() if k.startswith("features.")}
    tensors["lpips_heads"] = {k: v.abs() for k, v in lpips.items() if k.startswith("lin")}
    for name, values in tensors.items():
        torch.save(values, folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in tensors}


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Items that passed each network."""
    counted: Counter[str] = Counter()
    for network in (InceptionV3, InceptionI3d, LPIPS):
        forward = network.forward

        def noted(
            self: nn.Module, *inputs: Tensor, forward: Callable = forward, name: str = network.__name__
        ) -> Tensor:
            counted[name] += len(inputs[0])
            return forward(self, *inputs)

        monkeypatch.setattr(network, "forward", noted)
    return counted


@pytest.mark.slow
def test_the_papers_five_do_not_depend_on_batches_and_workers(
    published: dict[str, Path],
    passes: Counter[str],
    make_clip: MakeClip,
    man: list[np.ndarray],
    tmp_path: Path,
    cache: Path,
) -> None:
    make_clip(tmp_path / "real" / "a.mp4", man[:10])
    make_clip(tmp_path / "made" / "a.mp4", [frame // 2 + 50 for frame in man[:10]])
    settings = {"networks": published, "metrics": ["fid", "fvd", "lpips", "sync"], "fvd_frames": 10}
    config = EvaluateConfig.build({**settings, "cache_features": False, "workers": 0}, source="test")
    config = config.updated(generated=tmp_path / "made", real=tmp_path / "real")
    first = evaluate(config.updated(output=tmp_path / "first"))
    assert not first.sets[""].failures
    assert passes == {"InceptionV3": 2 * 10, "InceptionI3d": 2, "LPIPS": 10}
    second = evaluate(config.updated(output=tmp_path / "second", workers=1, batch_size=3))
    assert asdict(first.sets[""]) == asdict(second.sets[""])
    assert first.sets[""].metrics.keys() == {"fid", "fvd", "lpips", "sync_c", "sync_d", "sync_offset"}
    assert first.sets[""].metrics["fid"].value > 0
