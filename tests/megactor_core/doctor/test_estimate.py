"""The work of a clip as `animate` does it, and the time that it becomes."""

import pytest
import torch

from megactor_core.config.animate import AnimateConfig
from megactor_core.config.model import ModelConfig
from megactor_core.doctor import estimate
from megactor_core.doctor.estimate import ClipWork, Pace, Share, count_work, measure_pace
from megactor_core.models.flops import count_decode, count_denoiser, count_reference, count_reference_keys

PAPER, TINY = ModelConfig.preset("paper"), ModelConfig.preset("tiny")


def test_a_clip_of_one_window_is_its_steps_with_guidance_and_the_reference_in_each() -> None:
    work = count_work(PAPER, AnimateConfig(), seconds=16 / 25)
    evaluations = (count_denoiser(PAPER, frames=16, size_px=512, reference=on) for on in (True, False))
    reference = count_reference(PAPER, size_px=512) + count_reference_keys(PAPER, size_px=512)
    assert work.denoising == 20 * (sum(sum(parts.values()) for parts in evaluations) + reference)
    assert work.decoding == count_decode(PAPER.autoencoder, pictures=16, size_px=512)
    assert work.total == work.denoising + work.decoding + work.once > work.denoising + work.decoding


def test_without_guidance_one_evaluation_and_a_reference_at_time_zero_runs_once() -> None:
    work = count_work(TINY, AnimateConfig(), seconds=16 / 25)
    evaluation = sum(count_denoiser(TINY, frames=16, size_px=128).values())
    reference = count_reference(TINY, size_px=128) + count_reference_keys(TINY, size_px=128)
    assert work.denoising == TINY.sampling.steps * evaluation + reference


def test_overlapping_windows_cost_more_and_settings_of_the_user_count() -> None:
    plain = count_work(TINY, AnimateConfig(), seconds=4)
    overlap = AnimateConfig.build({"window": {"scheme": "overlap"}}, source="test")
    assert count_work(TINY, overlap, seconds=4).denoising > 1.2 * plain.denoising
    assert count_work(TINY, AnimateConfig(steps=8), seconds=4).denoising > 1.9 * plain.denoising
    assert count_work(TINY, AnimateConfig(size=256), seconds=4).decoding == 4 * plain.decoding


def test_seconds_are_work_over_a_share_of_the_pace() -> None:
    pace = Pace(denoiser=100.0, decoder=10.0, share=Share(denoiser=0.5, decoder=0.25, training=1.0))
    assert pace.seconds(ClipWork(denoising=900, decoding=50, once=100)) == 1000 / 50 + 50 / 2.5


def test_the_pace_of_the_cpu_and_of_a_device_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    paces = {(torch.device("cpu"), torch.bfloat16): 2e9, (torch.device("cpu"), torch.float32): 1e9}
    monkeypatch.setattr(estimate, "measure_peak", lambda device, dtype: paces[device, dtype])
    pace = measure_pace("cpu", "bfloat16")
    assert pace is not None
    assert (pace.denoiser, pace.decoder) == (2e9, 1e9)
    assert pace.share == estimate.CPU_SHARES["bfloat16"]

    def fail(_device: torch.device, _dtype: torch.dtype) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(estimate, "measure_peak", fail)
    assert measure_pace("cuda:0", "bfloat16") is None
