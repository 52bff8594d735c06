"""What a preset needs and takes, on machines that are described and not there."""

import json
from pathlib import Path

import pytest

from megactor_core import weights
from megactor_core.doctor import preset as doctor
from megactor_core.doctor.estimate import CPU_SHARES, GPU_SHARE, Pace
from megactor_core.doctor.installation import Device
from megactor_core.doctor.preset import PresetReport, examine_preset
from megactor_core.errors import ConfigError, UsageError
from megactor_core.weights_registry import REGISTRY

GB = 10**9


@pytest.fixture(autouse=True)
def _no_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, a CPU of 1 TFLOP a second, twice that in bfloat16, GPUs of 100."""
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path / "cache"))

    def pace(device: str, dtype: str) -> Pace:
        if device != "cpu":
            return Pace(denoiser=1e14, decoder=5e13, share=GPU_SHARE)
        return Pace(denoiser=2e12 if dtype == "bfloat16" else 1e12, decoder=1e12, share=CPU_SHARES[dtype])

    monkeypatch.setattr(doctor, "measure_pace", pace)


def examined(name: str, *devices: tuple[str, int | None], seconds: float = 10.0) -> PresetReport:
    return examine_preset(name, [Device(*device) for device in _titled(devices)], video_seconds=seconds)


def _titled(devices: tuple[tuple[str, int | None], ...]) -> list[tuple[str, str, int | None]]:
    return [(name, "a device", memory_bytes) for name, memory_bytes in devices]


def test_paper_needs_public_weights_and_one_command_gets_them() -> None:
    report = examined("paper", ("cpu", 64 * GB))
    assert report.pull_command == "megactor weights pull mediapipe-face sd-vae-ft-mse whisper-tiny"
    assert {needed.name for needed in report.weights if not needed.for_animate} == {"pixart-alpha-512"}
    counted = 4 * (83_653_863 + 37_760_640)
    pinned = sum(file.bytes or 0 for file in REGISTRY["mediapipe-face"].files)
    assert report.weights_bytes == counted + pinned
    assert report.checkpoint_bytes == 4 * 1_420_576_248


def test_small_presets_need_the_face_models_only() -> None:
    report = examined("tiny", ("cpu", 64 * GB))
    assert report.pull_command == "megactor weights pull mediapipe-face"
    assert report.checkpoint_bytes > 4 * report.parameters


def test_weights_that_are_here_are_not_asked_for(tmp_path: Path) -> None:
    entry = REGISTRY["whisper-tiny"]
    given = tmp_path / "given"
    given.mkdir()
    for file in entry.files:
        (given / file.name).write_bytes(b"12345")
    weights.pull(entry.name, from_path=given)
    report = examined("paper", ("cpu", 64 * GB))
    found = next(needed for needed in report.weights if needed.name == entry.name)
    assert (found.found, found.bytes) == (True, 15)
    assert report.pull_command == "megactor weights pull mediapipe-face sd-vae-ft-mse"


@pytest.mark.slow
def test_memory_of_the_paper_by_mode() -> None:
    """The figures of docs/performance.md."""
    report = examined("paper", ("cpu", 64 * GB))
    assert [mode.title for mode in report.modes] == ["cpu float32", "cpu bfloat16", "cuda bfloat16"]
    full, half, gpu = report.modes
    assert [round(mode.memory.total / GB, 1) for mode in report.modes] == [9.3, 6.4, 6.4]
    assert full.memory.sigma == 2 * half.memory.sigma
    assert full.memory.autoencoder == half.memory.autoencoder == gpu.memory.autoencoder
    assert full.total_bytes == full.memory.total + doctor.PROCESS_BYTES
    assert gpu.total_bytes == gpu.memory.total
    assert (full.fits, half.fits, gpu.fits, gpu.seconds) == (True, True, None, None)


def test_what_does_not_fit_says_what_to_lower_first_without_changing_the_result() -> None:
    full, half, _ = examined("paper", ("cpu", 9 * GB)).modes
    assert full.fits is False
    assert half.fits is True
    assert half.remedies == ()
    assert [remedy.settings for remedy in full.remedies] == ["--set decode_batch=1", "--dtype bfloat16"]
    assert full.remedies_fit
    assert full.total_bytes > full.remedies[0].total_bytes > full.remedies[1].total_bytes


def test_what_fits_in_no_way_says_so() -> None:
    *_, gpu = examined("paper", ("cpu", 64 * GB), ("cuda:0", 2 * GB)).modes
    assert gpu.title == "cuda:0 bfloat16"
    assert gpu.fits is False
    assert not gpu.remedies_fit
    assert gpu.remedies[-1].settings == "--size 256"


def test_a_gpu_may_leave_the_parts_that_do_not_work_to_the_cpu() -> None:
    full, *_, gpu = examined("paper", ("cpu", 8 * GB), ("cuda:0", 43 * GB // 10)).modes
    assert [remedy.settings for remedy in gpu.remedies] == ["--set decode_batch=1", "--set offload=parts"]
    assert gpu.remedies_fit
    assert round(gpu.remedies[-1].total_bytes / GB, 1) == 3.7
    assert "--set offload=parts" not in [remedy.settings for remedy in full.remedies]


def test_every_gpu_is_a_mode_and_time_is_in_proportion_to_pace_and_length() -> None:
    devices = (("cpu", 64 * GB), ("cuda:0", 80 * GB), ("cuda:1", 24 * GB))
    report = examined("paper", *devices)
    assert [mode.device for mode in report.modes] == ["cpu", "cpu", "cuda:0", "cuda:1"]
    full, half, gpu, _ = (mode.seconds for mode in report.modes)
    assert gpu is not None
    assert sorted([full or 0, half or 0, gpu]) == [gpu, half, full]
    expected = (report.work.denoising + report.work.once) / 6e13 + report.work.decoding / 3e13
    assert gpu == pytest.approx(expected)
    longer = examined("paper", *devices, seconds=20.0).modes[2]
    assert longer.seconds == pytest.approx(2 * gpu, rel=0.02)
    assert longer.memory == report.modes[2].memory


def test_training_stages_by_bytes_and_work() -> None:
    stages = examined("paper", ("cpu", 64 * GB)).training
    assert [stage.trained for stage in stages] == [896_295_256, 995_514_712, 409_086_720]
    for stage in stages:
        assert stage.total == 4 * (1_420_576_248 + 4 * stage.trained)
        assert stage.checkpoint == 16 * stage.trained
        assert stage.sample_seconds == pytest.approx(stage.sample_flops / 0.8e12)
    assert [round(stage.sample_flops / 1e12, 1) for stage in stages] == [6.7, 7.2, 85.2]
    on_gpu = examined("paper", ("cpu", 64 * GB), ("cuda:0", 80 * GB)).training[0]
    assert on_gpu.sample_seconds == pytest.approx(on_gpu.sample_flops / 6e13)


def test_the_report_is_plain_values_with_sums(tmp_path: Path) -> None:
    values = json.loads(json.dumps(examined("tiny", ("cpu", None)).to_json()))
    memory = values["modes"][0]["memory"]
    assert memory["total"] == max(memory["denoising"], memory["decoding"]) > memory["sigma"]
    assert values["modes"][0]["fits"] is None
    assert values["training"][0]["total"] > 0
    assert values["weights_bytes"] > 0
    assert not (tmp_path / "cache").exists(), "examining changes nothing"


def test_what_cannot_be_reckoned_is_refused() -> None:
    with pytest.raises(ConfigError, match="papr"):
        examined("papr")
    for seconds in (0.0, -1.0, float("nan"), float("inf"), 3601.0):
        with pytest.raises(UsageError, match="--seconds"):
            examined("tiny", seconds=seconds)
