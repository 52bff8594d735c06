"""Batches that no file stands behind: a picture's latent, a driver with a word about it, and its sound.

The target's brightness follows the driver's in stage 1 and the sound's loudness where there is sound, so that
there is something to learn; everything is drawn from (seed, number).
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch

from megactor_core.config.model import ModelConfig
from megactor_core.config.train import TrainConfig
from megactor_core.data.batch import Batch, Item, collate
from megactor_core.models.checkpoint import CheckpointInfo, draw_parts, save_checkpoint
from megactor_core.training.train import train

SIDE, LATENT, TOKENS = 64, 8, 16
EYES, MOUTH = (5, 6), (9, 10)
"""Tokens of the regions in the 4 x 4 grid."""


class FakeSource:
    """Batches for the preset nano. Modes: visual alone in stage 1, then all in turn."""

    holds_latents = True

    def __init__(self, *, stage: int = 1, seed: int = 0, frames: int | None = None) -> None:
        self.stage, self.seed = stage, seed
        self.frames = frames or (4 if stage == 3 else 1)
        self.asked: list[list[int]] = []
        self.fingerprint = f"fake-{stage}-{seed}-{self.frames}"

    def batch(self, numbers: Sequence[int]) -> Batch:
        self.asked.append(list(numbers))
        return collate([self.item(number) for number in numbers])

    def item(self, number: int) -> Item:
        rng = np.random.default_rng([self.seed, number])
        mode = "visual" if self.stage == 1 else ("visual", "audio", "mixed")[number % 3]
        null, mouth_drives = number % 7 == 6, mode == "visual" and number % 2 == 0
        light = float(rng.uniform(-1, 1))
        look = torch.from_numpy(rng.normal(size=(4, 1, 1)).astype(np.float32)).expand(4, LATENT, LATENT)
        driving = torch.zeros(self.frames, 3, SIDE, SIDE)
        if mode != "audio" and not null:
            driving[:, :, 16:32, 16:48] = (light + 1) / 2
            if mouth_drives:
                driving[:, :, 32:48, 16:48] = (light + 1) / 2
        weight = torch.ones(self.frames, 1, LATENT, LATENT)
        spares = mode == "visual" and not mouth_drives and not null
        if spares:
            weight[..., 4:6, 2:6] = 0
        return Item(
            index=number,
            mode=mode,
            reference=None,
            target=None,
            reference_latent=look.clone(),
            target_latent=(look + light).expand(self.frames, -1, -1, -1).clone(),
            driving=driving,
            eyes=self._tokens(EYES),
            mouth=self._tokens(MOUTH),
            mask_active=mode != "audio" and not mouth_drives,
            loss_weight=weight,
            audio=torch.full((self.frames, 80, 24), light if mode != "visual" else 0.0),
            has_audio=mode != "visual",
            null=null,
        )

    def _tokens(self, places: Sequence[int]) -> torch.Tensor:
        mask = torch.zeros(self.frames, TOKENS, dtype=torch.bool)
        mask[:, list(places)] = True
        return mask


@pytest.fixture(autouse=True)
def without_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the loss takes half of the time of a run this short; a test that asks for `plots` has them."""
    if "plots" not in request.fixturenames:
        monkeypatch.setattr("megactor_core.training.keeper.plot_loss", lambda *drawn: drawn[-1].touch())


@pytest.fixture
def plots() -> None:
    """Runs draw their loss."""


@pytest.fixture(scope="session")
def fake_source() -> type[FakeSource]:
    return FakeSource


@pytest.fixture(scope="session")
def make_nano(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A nano checkpoint of a stage, not to be written to; layers that the stage has trained are not zero."""

    @cache
    def make(*, stage: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("nano") / "checkpoint"
        config = ModelConfig.preset("nano")
        parts = draw_parts(config, seed=3)
        generator = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for name, parameter in parts.sigma.named_parameters():
                if not parameter.any() and _is_trained_by(name, stage):
                    parameter.normal_(std=0.02, generator=generator)
        save_checkpoint(
            folder,
            info=CheckpointInfo(name="nano", trained=stage > 0, stage=stage, model=config),
            sigma=parts.sigma,
            autoencoder=parts.autoencoder,
            audio_encoder=parts.audio_encoder,
            card="For tests.\n",
        )
        return folder

    return make


def _is_trained_by(name: str, stage: int) -> bool:
    """Whether some stage up to this one has given the parameter values."""
    first = 3 if ".temporal." in name else 2 if ".audio_attention." in name else 1
    return first <= stage


@pytest.fixture(scope="session")
def config_in(make_nano: Callable[..., Path]) -> Callable[..., TrainConfig]:
    """A short run of a stage at nano, in a folder below the given one."""

    def make(folder: Path, stage: int = 1, **changes: object) -> TrainConfig:
        values = {
            "stage": stage,
            "steps": 6,
            "batch_size": 2,
            "checkpoint_every": 2,
            "learning_rate": 1e-3,
            "workers": 0,
            "device": "cpu",
            "output": folder / f"stage{stage}",
            "init": make_nano(stage=stage - 1),
            **({"preset": "nano"} if stage == 1 else {}),
            **({"draw": {"clip_frames": 4}} if stage == 3 else {}),
        }
        return TrainConfig.build({**values, **changes}, source="test")

    return make


@pytest.fixture
def make_config(config_in: Callable[..., TrainConfig], tmp_path: Path) -> Callable[..., TrainConfig]:
    """`config_in` the test's own folder."""
    return partial(config_in, tmp_path)


@pytest.fixture(scope="session")
def whole_run(
    config_in: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """The folder of a run of `make_config`'s settings that nothing disturbed, not to be written to."""

    @cache
    def make(stage: int) -> Path:
        config = config_in(tmp_path_factory.mktemp("whole"), stage)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("megactor_core.training.keeper.plot_loss", lambda *drawn: drawn[-1].touch())
            train(config, source=FakeSource(stage=stage))
        return config.folder

    return make
