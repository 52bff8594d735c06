"""The figures of record at the paper's size, and how the work grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.config.model import ModelConfig
from megactor_core.models.flops import (
    count_audio_encoder,
    count_clip,
    count_decode,
    count_denoiser,
    count_encode,
    count_reference,
    count_reference_keys,
    count_step,
)

PAPER = ModelConfig.preset("paper")
PX = 512
TERA = 1e12

presets = st.sampled_from(["nano", "tiny", "small", "paper"]).map(ModelConfig.preset)
sizes_px = st.integers(1, 16).map(lambda count: 32 * count)
frame_counts = st.integers(1, 32)


def tera(work: dict[str, int]) -> float:
    return sum(work.values()) / TERA


def one_frame(*, reference: bool) -> dict[str, float]:
    """TFLOP a frame in a window of 16."""
    work = count_denoiser(PAPER, frames=16, size_px=PX, reference=reference)
    return {part: flops / 16 / TERA for part, flops in work.items()}


def test_figures_of_one_frame() -> None:
    parts = one_frame(reference=True)
    temporal = parts.pop("temporal")
    assert sum(parts.values()) == pytest.approx(1.287, abs=5e-4)
    assert temporal == pytest.approx(0.846, abs=5e-4)
    alone = one_frame(reference=False)
    assert alone["spatial"] + alone["audio attention"] == pytest.approx(1.210, abs=5e-4)


def test_figures_of_the_reference() -> None:
    """All 28 blocks would be 1.049; the last block's attention and MLP are not run."""
    tokens, width = 1024, 1152
    block = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    flops = count_reference(PAPER, size_px=PX)
    assert flops / TERA == pytest.approx(1.011, abs=5e-4)
    assert (flops + block) / TERA == pytest.approx(1.049, abs=5e-4)
    assert count_reference_keys(PAPER, size_px=PX) / TERA == pytest.approx(0.087, abs=5e-4)


def test_figures_of_what_surrounds() -> None:
    clip = count_clip(PAPER, frames=1, driving_frames=0, sound_seconds=30, size_px=PX)
    figures = {part: round(flops / TERA, 4) for part, flops in clip.items()}
    assert figures == {"driven encoder": 0.0022, "audio encoder": 0.0369, "encode": 1.1167, "decode": 2.5145}


@pytest.mark.parametrize(
    ("guidance", "step_tera", "second_tera"), [(True, 67.10, 2097), (False, 34.21, 1069)]
)
def test_figures_of_a_step_and_a_second(guidance: bool, step_tera: float, second_tera: float) -> None:
    """One window of 16 with its keys of the reference, whose forward is counted apart; 20 steps, 25 fps."""
    step = count_step(PAPER, frames=16, size_px=PX, guidance=guidance)
    window = tera(step) - step["reference"] / TERA
    assert window == pytest.approx(step_tera, abs=0.005)
    assert window * 20 * 25 / 16 == pytest.approx(second_tera, abs=0.5)


@given(config=presets, frames=frame_counts, size_px=sizes_px)
def test_guidance_adds_the_rows_without_a_reference(config: ModelConfig, frames: int, size_px: int) -> None:
    with_guidance = count_step(config, frames=frames, size_px=size_px, guidance=True)
    without = count_step(config, frames=frames, size_px=size_px, guidance=False)
    null = count_denoiser(config, frames=frames, size_px=size_px, reference=False)
    assert null["reference attention"] == 0
    for part in with_guidance:
        assert with_guidance[part] == without[part] + null.get(part, 0)


@given(config=presets, frames=frame_counts, size_px=sizes_px)
def test_frames_share_nothing_but_the_time_step_and_temporal_attention(
    config: ModelConfig, frames: int, size_px: int
) -> None:
    one = count_denoiser(config, frames=1, size_px=size_px)
    many = count_denoiser(config, frames=frames, size_px=size_px)
    for part in ("reference attention", "audio attention"):
        assert many[part] == frames * one[part]
    timestep = 2 * (256 * config.hidden + 7 * config.hidden**2)
    assert many["spatial"] - timestep == frames * (one["spatial"] - timestep)
    assert many["temporal"] >= frames * one["temporal"]


@given(config=presets, pictures=frame_counts, size_px=sizes_px)
def test_pictures_are_coded_one_by_one(config: ModelConfig, pictures: int, size_px: int) -> None:
    for count in (count_encode, count_decode):
        many = count(config.autoencoder, pictures=pictures, size_px=size_px)
        assert many == pictures * count(config.autoencoder, pictures=1, size_px=size_px) > 0


def test_whisper_runs_in_chunks_and_log_mel_by_frame() -> None:
    def work(config: ModelConfig, seconds: float) -> int:
        return count_audio_encoder(config, frames=round(25 * seconds), sound_seconds=seconds)

    assert work(PAPER, 1) == work(PAPER, 30) == work(PAPER, 31) / 2
    small = ModelConfig.preset("small")
    assert work(small, 30) == 30 * work(small, 1)
