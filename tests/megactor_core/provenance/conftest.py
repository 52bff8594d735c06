"""A home of the test's own, a small video, and what is signed about it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megactor_core.files import sha256_of
from megactor_core.media.audio import Sound
from megactor_core.media.image import write_image
from megactor_core.media.video_writer import VideoWriter
from megactor_core.provenance.certificates import SigningKey, make_key_pair
from megactor_core.provenance.manifest import Ingredient, Manifest
from megactor_core.provenance.sign import sign_video

FACTS = {
    "tool": "megactor 0",
    "seed": 3,
    "badge": {"placement": "off"},
    "nothing": None,
    "strengths": {"alpha": 0.5},
    "regions": ["eyes"],
    "none": [],
    "mixed": [{"x": 1}, {"y": True}],
}


@pytest.fixture
def facts() -> dict[str, Any]:
    """What `sign` signs."""
    return FACTS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for keys."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MEGACTOR_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def pair() -> tuple[SigningKey, bytes]:
    """A key, and the authority below which it is."""
    made = make_key_pair()
    return made.key, made.authority_pem


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of moving noise, with a hum."""
    path = tmp_path_factory.mktemp("video") / "plain.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (25, 64, 64, 3), dtype=np.uint8)
    hum = np.sin(np.arange(16_000) / 5)[:, np.newaxis].astype(np.float32)
    with VideoWriter(
        path, video_fps=Fraction(25), width=64, height=64, sound=Sound(hum, 16_000), tags={"comment": "{}"}
    ) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "portrait.png"
    write_image(path, np.zeros((32, 32, 3), dtype=np.uint8))
    return path


@pytest.fixture
def sign(video: Path, pair: tuple[SigningKey, bytes], tmp_path: Path) -> Callable[..., Path]:
    """Signs the video as tmp_path / name, made of `inputs`."""

    def work(
        *inputs: Path, name: str = "signed.mp4", source: Path = video, key: SigningKey = pair[0]
    ) -> Path:
        ingredients = tuple(Ingredient(path=path, sha256=sha256_of(path)) for path in inputs)
        manifest = Manifest(title=name, facts=FACTS, ingredients=ingredients)
        sign_video(source, tmp_path / name, manifest=manifest, key=key)
        return tmp_path / name

    return work
