"""Work is counted, not timed: what `animate` runs, how often, and no more than the formulas say."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from megactor_core.animation import output, plan, portrait
from megactor_core.animation.animate import animate
from megactor_core.animation.driving import ENCODE_FRAMES
from megactor_core.animation.windows import step_windows
from megactor_core.config.animate import AnimateConfig
from megactor_core.media import apart
from megactor_core.media.upright import Upright
from megactor_core.models.audio import LogMelEncoder
from megactor_core.models.checkpoint import load_checkpoint, save_checkpoint
from megactor_core.models.dit import Denoiser
from megactor_core.models.driven_encoder import DrivenEncoder
from megactor_core.models.flops import count_clip, count_denoiser, count_reference, count_reference_keys
from megactor_core.models.layers import Attention
from megactor_core.models.reference import ReferenceTransformer

pytestmark = pytest.mark.slow  # whole runs

SPEECH_SECONDS, SPEECH_FRAMES, DRIVING_FRAMES = 1.2, 30, 20
READERS = 2  # the last two of nano's four blocks read the reference
PX = 64

Run = Callable[..., Counter[str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each part is called from now on; for the denoiser also how many windows it was given."""
    counter: Counter[str] = Counter()

    def count(owner: Any, name: str, key: str) -> None:
        original = getattr(owner, name)

        def counting(*given: Any, **named: Any) -> Any:
            counter[key] += 1
            return original(*given, **named)

        monkeypatch.setattr(owner, name, counting)

    count(ReferenceTransformer, "forward", "reference forwards")
    count(Denoiser, "reference_keys", "reference projections")
    count(Attention, "keys_values", "projections")
    count(DrivenEncoder, "forward", "driven encoder")
    count(LogMelEncoder, "track", "audio encoder")
    count(portrait, "read_image", "portraits read")
    count(plan, "read_sound", "sounds read")
    count(Upright, "rgb", "pictures decoded")
    _count_pictures_from_apart(counter, monkeypatch)
    _count_windows(counter, monkeypatch)
    return counter


def _count_pictures_from_apart(counter: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ask = apart._ask

    def counting(*given: Any, **named: Any) -> Iterator[Any]:
        for facts, array in ask(*given, **named):
            counter["pictures decoded"] += named["read"] == "video" and array is not None
            yield facts, array

    monkeypatch.setattr(apart, "_ask", counting)


def _count_windows(counter: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Denoiser.forward

    def counting(denoiser: Denoiser, latents: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
        kind = "null windows" if named["reference"] is None else "windows"
        counter[kind] += len(latents)
        counter["denoiser"] += 1
        return forward(denoiser, latents, *given, **named)

    monkeypatch.setattr(Denoiser, "forward", counting)


@pytest.fixture
def run(media: Path, speaking_checkpoint: Path, tmp_path: Path, calls: Counter[str]) -> Run:
    """Animate with some of V, A and further settings; returns the counts."""

    def run(*, visual: bool = True, audio: bool = True, **settings: Any) -> Counter[str]:
        given = {
            "reference": media / "portrait.png",
            "driving": media / "driver.mp4" if visual else None,
            "audio": media / "speech.wav" if audio else None,
            "checkpoint": speaking_checkpoint,
            "output": tmp_path / "out.mp4",
        }
        calls.clear()
        animate(AnimateConfig(**{**given, **settings}))
        return Counter(calls)

    return run


@pytest.mark.parametrize(
    ("settings", "steps", "windows", "batches"),
    [
        ({"steps": 1, "window": {"frames": 30}}, 1, 1, 1),
        ({"steps": 3, "window": {"frames": 10, "shift": 0}}, 3, 9, 9),
        ({"steps": 3, "window": {"frames": 10, "shift": 0}, "window_batch": 2}, 3, 9, 6),
        ({"steps": 2, "window": {"frames": 10, "shift": 5}}, 2, 3 + 4, 3 + 4),
        ({"steps": 2, "window": {"frames": 10, "shift": 5}, "window_batch": 8}, 2, 3 + 4, 1 + 2),
        ({"steps": 2, "window": {"frames": 10, "scheme": "overlap", "overlap": 5}}, 2, 10, 10),
    ],
)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_denoiser_and_reference(
    run: Run, settings: dict[str, Any], steps: int, windows: int, batches: int, guidance: float
) -> None:
    """One reference for all windows of a step; unconditional rows only where guidance wants them."""
    counts = run(visual=False, guidance=guidance, **settings)
    evaluations = 1 if guidance == 1 else 2
    assert counts["windows"] == windows
    assert counts["null windows"] == windows * (evaluations - 1)
    assert counts["denoiser"] == batches * evaluations
    assert counts["reference forwards"] == counts["reference projections"] == steps


@pytest.mark.parametrize(
    ("interval", "guided"), [((0.0, 1.0), 5), ((0.2, 0.8), 3), ((0.0, 0.4), 2), ((0.99, 1.0), 0)]
)
def test_only_guided_steps_have_unconditional_rows(
    run: Run, interval: tuple[float, float], guided: int
) -> None:
    window = {"frames": 10, "shift": 0}
    counts = run(visual=False, guidance=2.0, guidance_interval=interval, steps=5, window=window)
    assert counts["windows"] == 5 * 3
    assert counts["null windows"] == guided * 3


def test_reference_keys_are_projected_once_a_block_and_step(run: Run) -> None:
    """Beyond that, attention projects what it attends to: its own tokens, or the sound."""
    counts = run(steps=2, guidance=2.0, window={"frames": 10, "shift": 0})
    denoiser = 4 + 4 + 2 * 2  # self, audio, two temporal modules of two attentions
    reference = 3  # the last block stops before its attention
    assert counts["projections"] == counts["denoiser"] * denoiser + 2 * (reference + READERS)


def test_reference_at_time_zero_runs_once(run: Run, speaking_checkpoint: Path, tmp_path: Path) -> None:
    folder = with_reference_at_zero(speaking_checkpoint, tmp_path / "zero")
    counts = run(checkpoint=folder, steps=3, guidance=2.0, window={"frames": 10})
    assert counts["reference forwards"] == counts["reference projections"] == 1


def with_reference_at_zero(source: Path, folder: Path) -> Path:
    """The same weights with `reference.timestep = zero`."""
    loaded = load_checkpoint(source, device=torch.device("cpu"), dtype=torch.float32)
    model = loaded.config.updated(reference={"timestep": "zero"})
    save_checkpoint(
        folder,
        info=loaded.info.updated(model=model),
        sigma=loaded.sigma,
        autoencoder=loaded.autoencoder.network,
        audio_encoder=loaded.audio_encoder,
        card="For tests.\n",
    )
    return folder


@pytest.mark.parametrize("settings", [{"steps": 1}, {"steps": 3, "window": {"frames": 7}, "guidance": 3.0}])
def test_conditions_are_read_once_a_clip(run: Run, settings: dict[str, Any]) -> None:
    """Steps, windows and guidance read nothing again; only the driving video is decoded twice."""
    counts = run(**settings)
    assert counts["driven encoder"] == math.ceil(DRIVING_FRAMES / ENCODE_FRAMES) + 1
    assert counts["audio encoder"] == counts["sounds read"] == counts["portraits read"] == 1
    assert counts["pictures decoded"] == 2 * DRIVING_FRAMES


def test_absent_drivers_cost_nothing(run: Run) -> None:
    sound = run(visual=False)
    assert sound["driven encoder"] == 1  # the picture where nothing drives
    assert sound["pictures decoded"] == 0
    picture = run(audio=False)
    assert picture["audio encoder"] == picture["sounds read"] == 0


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("window", [{"frames": 16}, {"frames": 8, "scheme": "overlap"}])
def test_all_work_is_the_formulas(
    run: Run,
    speaking_checkpoint: Path,
    guidance: float,
    window: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every matrix product and convolution of a whole run is one that the formulas count."""
    monkeypatch.setattr(output, "ahead", iter)  # the counter sees its own thread alone
    fused = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _sdpa_flops}
    with FlopCounterMode(display=False, custom_mapping=fused) as counter:
        run(steps=2, guidance=guidance, window=window)
    model = load_checkpoint(speaking_checkpoint, device=torch.device("cpu"), dtype=torch.float32).config
    settings = AnimateConfig().updated(window=window).window
    expected = 2 * (count_reference(model, size_px=PX) + count_reference_keys(model, size_px=PX))
    for step in (0, 1):
        for start, stop in step_windows(SPEECH_FRAMES, settings, step=step):
            for reference in (True,) if guidance == 1 else (True, False):
                work = count_denoiser(model, frames=stop - start, size_px=PX, reference=reference)
                expected += sum(work.values())
    clip = count_clip(
        model,
        frames=SPEECH_FRAMES,
        driving_frames=DRIVING_FRAMES,
        sound_seconds=SPEECH_SECONDS,
        size_px=PX,
    )
    assert counter.get_total_flops() == expected + sum(clip.values()) + _mel_flops()


def _mel_flops() -> int:
    """Mel filters over the spectrum: 80 bands from 201 frequencies, a column each 10 ms and one more."""
    return 2 * 80 * 201 * (round(100 * SPEECH_SECONDS) + 1)


def _sdpa_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)
