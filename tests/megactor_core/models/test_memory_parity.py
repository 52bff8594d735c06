"""The counted bytes are those of the tensors that are alive at once in the real modules, within 3 %.

Every operation is watched: what it makes joins the tally, what nobody holds any more leaves it.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import WhisperConfig, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder as WhisperNetwork

from megactor_core.config.model import LATENT_STRIDE_PX, ModelConfig
from megactor_core.diffusion.sampler import guide, split_prediction
from megactor_core.models.audio import LogMelEncoder, WhisperEncoder
from megactor_core.models.autoencoder import Autoencoder, PatchAutoencoder
from megactor_core.models.flops import tokens_of
from megactor_core.models.layers import KeysValues
from megactor_core.models.masks import region_mask
from megactor_core.models.memory import (
    count_weights,
    decode_bytes,
    kl_decode_bytes,
    kl_numbers,
    prediction_bytes,
    reference_keys_bytes,
    reference_step_bytes,
    whisper_file_numbers,
    whisper_numbers,
    window_bytes,
)
from megactor_core.models.sigma import Sigma

TOLERANCE = 0.03
FRAMES = 2


class LiveTensors(TorchDispatchMode):
    """Bytes of all storages that are alive after each operation, without those that were there before."""

    def __init__(self, before: Iterable[Tensor]) -> None:
        super().__init__()
        self._before = {tensor.untyped_storage()._cdata for tensor in before}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        self._alive = {key: entry for key, entry in self._alive.items() if not entry[0].expired()}
        for tensor in tree_leaves((args, kwargs, made)):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._before:
                    self._alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return made


def peak_bytes(work: Callable[[], Any], *, before: Iterable[Tensor]) -> int:
    with torch.no_grad(), LiveTensors(before) as live:
        work()
    return live.peak


class Step:
    """A solver step as `animate` makes it, on zeros."""

    def __init__(self, config: ModelConfig, dtype: torch.dtype = torch.float32) -> None:
        self.config, self.dtype = config, dtype
        self.sigma = Sigma(config).eval().to(dtype)
        self.t = torch.zeros(1, dtype=torch.long)
        with torch.no_grad():
            self.keys = self.sigma.denoiser.reference_keys(self.states())

    @property
    def there_before(self) -> list[Tensor]:
        return [*self.sigma.parameters(), *(tensor for pair in self.keys for tensor in pair)]

    def states(self) -> list[Tensor]:
        side = self.config.native_px // LATENT_STRIDE_PX
        return self.sigma.reference(
            torch.zeros(1, self.config.latent_channels, side, side, dtype=self.dtype), self.t
        )

    def new_reference(self) -> list[KeysValues]:
        states = self.states()
        return self.sigma.denoiser.reference_keys(states)

    def window(self, *, guidance: bool = False, masked: bool = False, temporal: bool = True) -> Tensor:
        side = self.config.native_px // LATENT_STRIDE_PX
        noisy = torch.zeros(1, FRAMES, self.config.latent_channels, side, side).to(self.dtype)
        conditional = self.evaluate(noisy, null=False, masked=masked, temporal=temporal)
        if not guidance:
            return conditional
        return guide(conditional, self.evaluate(noisy, null=True), scale=2.0)

    def evaluate(self, noisy: Tensor, *, null: bool, masked: bool = False, temporal: bool = True) -> Tensor:
        config, side = self.config, noisy.shape[-1]
        motion = torch.zeros(1, FRAMES, config.driven.out_channels, side, side)
        audio = torch.zeros(1, FRAMES, config.audio.tokens, config.audio.width)
        regions = torch.zeros(FRAMES, tokens_of(config.native_px), dtype=torch.bool)
        form = config.mask.form
        output = self.sigma.denoiser(
            noisy,
            self.t,
            motion=motion.to(self.dtype),
            audio=audio.to(self.dtype),
            reference=None if null else self.keys,
            mask=region_mask(mouth=regions, eyes=regions, mode="paper", form=form) if masked else None,
            use_temporal=temporal,
        )
        return split_prediction(output, channels=config.latent_channels).float().cpu()


def sizes(step: Step) -> dict[str, int]:
    return {
        "frames": FRAMES,
        "size_px": step.config.native_px,
        "item_bytes": torch.empty(0, dtype=step.dtype).element_size(),
    }


@pytest.fixture(scope="module")
def steps() -> Callable[[str, torch.dtype], Step]:
    """Presets with four blocks each: a block's moments do not depend on their number."""
    made: dict[tuple[str, torch.dtype], Step] = {}

    def get(preset: str, dtype: torch.dtype) -> Step:
        if (preset, dtype) not in made:
            made[preset, dtype] = Step(ModelConfig.preset(preset).updated(depth=4), dtype)
        return made[preset, dtype]

    return get


each_preset = pytest.mark.parametrize("preset", ["nano", "tiny", "small"])
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


@each_preset
@each_dtype
def test_parity_of_a_window(steps: Callable[..., Step], preset: str, dtype: torch.dtype) -> None:
    step = steps(preset, dtype)
    measured = peak_bytes(lambda: step.window(masked=True), before=step.there_before)
    assert window_bytes(step.config, **sizes(step)) == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("preset", ["nano", "tiny"])
@each_dtype
def test_parity_of_a_window_with_guidance(
    steps: Callable[..., Step], preset: str, dtype: torch.dtype
) -> None:
    step = steps(preset, dtype)
    measured = peak_bytes(lambda: step.window(guidance=True), before=step.there_before)
    counted = window_bytes(step.config, **sizes(step)) + prediction_bytes(step.config, **sizes(step))
    assert counted == pytest.approx(measured, rel=TOLERANCE)


@each_dtype
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(
    "changes", [{}, {"mlp_ratio": 1}, {"mlp_ratio": 1, "mask": {"form": "literal"}}], ids=str
)
def test_parity_of_attention_and_mlp(changes: dict[str, Any], masked: bool, dtype: torch.dtype) -> None:
    """Without temporal modules, which would hide the other moments; narrow MLPs let attention decide."""
    step = Step(ModelConfig.preset("tiny").updated(native_px=256, **changes), dtype)
    measured = peak_bytes(lambda: step.window(masked=masked, temporal=False), before=step.there_before)
    counted = window_bytes(step.config, **sizes(step), temporal=False)
    if masked:
        assert counted == pytest.approx(measured, rel=TOLERANCE)
    else:
        assert counted >= measured * (1 - TOLERANCE)


@pytest.mark.parametrize("ratio", [1, 4])
def test_parity_of_the_null_branch(ratio: int) -> None:
    step = Step(ModelConfig.preset("tiny").updated(mlp_ratio=ratio))
    side = step.config.native_px // LATENT_STRIDE_PX

    def null() -> Tensor:
        noisy = torch.zeros(1, FRAMES, step.config.latent_channels, side, side)
        return step.evaluate(noisy, null=True, temporal=False)

    counted = window_bytes(step.config, **sizes(step), reference=False, temporal=False)
    assert counted == pytest.approx(peak_bytes(null, before=step.there_before), rel=TOLERANCE)


@pytest.mark.parametrize("preset", ["nano", "tiny"])
@pytest.mark.parametrize("depth", [4, 12])
def test_parity_of_the_reference(preset: str, depth: int) -> None:
    """With few readers a block's MLP decides, with many the keys; `tiny` keeps no older keys."""
    step = Step(ModelConfig.preset(preset).updated(depth=depth))
    px = step.config.native_px
    keys = sum(tensor.nbytes for pair in step.keys for tensor in pair)
    assert reference_keys_bytes(step.config, size_px=px, item_bytes=4) == keys
    old = 0 if step.config.reference.timestep == "zero" else keys
    measured = peak_bytes(step.new_reference, before=step.there_before) + old
    counted = reference_step_bytes(step.config, size_px=px, item_bytes=4)
    assert counted == pytest.approx(measured, rel=TOLERANCE)


def kl(widths: tuple[int, ...]) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=widths,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=8,
    )


def decoded_peak(network: nn.Module, *, channels: int, size_px: int, pictures: int) -> int:
    autoencoder, side = Autoencoder(network, scaling_factor=0.5), size_px // LATENT_STRIDE_PX

    def work() -> Tensor:
        latents = torch.zeros(pictures, channels, side, side)
        return (autoencoder.decode(latents) * 255).round().to(torch.uint8)

    return peak_bytes(work, before=autoencoder.parameters())


@pytest.mark.parametrize(
    "widths", [(8, 16, 32, 32), (16, 16, 16, 16), (8, 8, 32, 32), (8, 16, 64, 64)], ids=str
)
@pytest.mark.parametrize("pictures", [1, 3])
def test_parity_of_decoding_by_stable_diffusions_autoencoder(widths: tuple[int, ...], pictures: int) -> None:
    """(8, 16, 32, 32) has the published proportions; the others let other moments decide."""
    measured = decoded_peak(kl(widths), channels=4, size_px=128, pictures=pictures)
    counted = kl_decode_bytes(4, pictures=pictures, size_px=128, widths=widths)
    assert counted == pytest.approx(measured, rel=TOLERANCE)


@each_preset
def test_parity_of_decoding_by_the_patch_autoencoder(preset: str) -> None:
    config = ModelConfig.preset(preset).autoencoder
    network = PatchAutoencoder(config)
    measured = decoded_peak(network, channels=config.latent_channels, size_px=128, pictures=2)
    assert decode_bytes(config, pictures=2, size_px=128) == pytest.approx(measured, rel=TOLERANCE)


def numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parity_of_the_weights_of_public_networks() -> None:
    shape = WhisperConfig(
        d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536, num_mel_bins=80
    )
    with torch.device("meta"):
        published, narrow = kl((128, 256, 512, 512)), kl((8, 16, 32, 40))
        whisper = WhisperEncoder(WhisperNetwork(shape), edges="clamp")
        whole = WhisperModel(WhisperConfig())  # its defaults are Whisper tiny
    assert kl_numbers(4) == numbers(published) == 83_653_863
    assert kl_numbers(4, widths=(8, 16, 32, 40)) == numbers(narrow)
    assert whisper_numbers(384) == numbers(whisper)
    assert whisper_file_numbers(384) == numbers(whole) == 37_760_640


@each_preset
def test_parity_of_the_weights_of_a_preset(preset: str) -> None:
    config = ModelConfig.preset(preset)
    counted = count_weights(config)
    with torch.device("meta"):
        sigma, log_mel = Sigma(config), LogMelEncoder(config)
    assert counted.sigma == numbers(sigma)
    assert counted.autoencoder == numbers(PatchAutoencoder(config.autoencoder))
    assert counted.audio_encoder == numbers(log_mel)
