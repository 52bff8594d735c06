"""Memory that runs out: what is lowered, what is said, and that the picture stays the same."""

import json
import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.animation import backoff
from megactor_core.animation.animate import AnimateReport, animate, animate_jobs
from megactor_core.animation.backoff import FRAMES, WINDOWS, Batches, BatchKind, Lowering, said_when_short
from megactor_core.animation.jobs import run_jobs
from megactor_core.animation.store import RunFolder
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.jobs import JobsConfig
from megactor_core.errors import ConfigError, MegActorError, OutOfMemory
from megactor_core.media.video import read_video
from megactor_core.models.autoencoder import Autoencoder
from megactor_core.models.dit import Denoiser
from megactor_core.models.driven_encoder import DrivenEncoder
from megactor_core.models.reference import ReferenceTransformer

pytestmark = pytest.mark.slow  # whole runs

CPU = torch.device("cpu")
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
]
STEPS, SPEECH_FRAMES = 3, 30

each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


# ---------------------------------------------------------------- batches that shrink


def batches_on(device: torch.device, size: int, kind: BatchKind = WINDOWS) -> tuple[Batches, list[Lowering]]:
    lowered: list[Lowering] = []
    return Batches(kind, size, device=device, on_lowered=lowered.append), lowered


def fits(at_most: int) -> Callable[[Sequence[int]], list[int]]:
    """Work for which there is memory for so many at once."""

    def work(batch: Sequence[int]) -> list[int]:
        if len(batch) > at_most:
            raise MemoryError
        return [10 * thing for thing in batch]

    return work


@given(count=st.integers(0, 40), size=st.integers(1, 70), at_most=st.integers(1, 12))
def test_everything_is_done_once_in_order_however_little_fits(count: int, size: int, at_most: int) -> None:
    batches, lowered = batches_on(CPU, size)
    made = [(list(batch), result) for batch, result in batches.run(fits(at_most), range(count))]
    assert [thing for batch, _ in made for thing in batch] == list(range(count))
    assert all(result == [10 * thing for thing in batch] for batch, result in made)
    sizes = [size, *(lowering.after for lowering in lowered)]
    assert [lowering.before for lowering in lowered] == sizes[:-1]
    assert all(after in halves(before) for before, after in pairwise(sizes))
    assert bool(lowered) == (min(size, count) > at_most)
    assert [len(batch) for batch, _ in made[:-1]] == [sizes[-1]] * (len(made) - 1)


def halves(size: int) -> list[int]:
    return [size // 2**k for k in range(1, size.bit_length())]


def test_it_halves_and_stays_low() -> None:
    batches, lowered = batches_on(CPU, 8)
    tried: list[int] = []

    def work(batch: Sequence[int]) -> int:
        tried.append(len(batch))
        return len(fits(2)(batch))

    assert [made for _, made in batches.run(work, range(8))] == [2] * 4
    assert [made for _, made in batches.run(work, range(4))] == [2] * 2
    assert tried == [8, 4, 2, 2, 2, 2, 2, 2]
    assert lowered == [Lowering("window_batch", 8, 4), Lowering("window_batch", 4, 2)]


def test_sizes_that_nothing_was_tried_with_are_passed_over() -> None:
    """Five things of 64 at once are five: 32, 16 and 8 at once would fail alike."""
    batches, lowered = batches_on(CPU, 64)
    assert [len(batch) for batch, _ in batches.run(fits(4), range(5))] == [4, 1]
    assert lowered == [Lowering("window_batch", 64, 4)]


def test_memory_that_runs_out_later_costs_only_what_is_not_done() -> None:
    batches, lowered = batches_on(CPU, 4)
    begun: list[list[int]] = []

    def work(batch: Sequence[int]) -> None:
        begun.append(list(batch))
        if len(batch) > 2 and 4 in batch:
            raise MemoryError

    done = [list(batch) for batch, _ in batches.run(work, range(8))]
    assert done == [[0, 1, 2, 3], [4, 5], [6, 7]]
    assert begun == [[0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [6, 7]]
    assert len(lowered) == 1


@each_error
def test_one_that_does_not_fit_is_said(error: Exception) -> None:
    batches, lowered = batches_on(CPU, 4, FRAMES)

    def work(batch: Sequence[int]) -> None:
        raise error

    with pytest.raises(OutOfMemory) as caught:
        list(batches.run(work, range(9)))
    assert [lowering.after for lowering in lowered] == [2, 1]
    assert "Not enough memory on cpu to decode one frame (tried with decode_batch 4, 2, 1)." in str(
        caught.value
    )
    assert "A smaller --size takes less, but changes the result." in caught.value.fix
    assert "window" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_memory_held_and_free_is_said_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    both = (3 * 2**30, 2**29)
    for known, words in ((both, "held 3.0 GiB, and 0.5 GiB were free"), (None, "window (tried")):
        monkeypatch.setattr(backoff, "memory_use", lambda device, known=known: known)
        with pytest.raises(OutOfMemory) as caught:
            list(batches_on(CPU, 1)[0].run(fits(0), [7]))
        assert words in caught.value.message
        assert ("GiB" in caught.value.message) == (known is not None)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("can't allocate memory")])
def test_any_other_error_passes(error: Exception) -> None:
    batches, lowered = batches_on(CPU, 4)

    def work(batch: Sequence[int]) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        list(batches.run(work, range(9)))
    assert caught.value is error
    with pytest.raises(type(error)) as caught, said_when_short(CPU, to="think", needs_less="Less thought"):
        raise error
    assert caught.value is error
    assert lowered == []


def test_a_failed_try_holds_nothing_when_the_next_begins() -> None:
    """Else the next try finds no more memory than the one before."""
    held: list[weakref.ref[torch.Tensor]] = []

    def work(batch: Sequence[int]) -> int:
        assert all(tensor() is None for tensor in held)
        large = torch.zeros(len(batch))
        held.append(weakref.ref(large))
        return len(fits(1)(batch))

    batches, _ = batches_on(CPU, 8)
    assert [made for _, made in batches.run(work, range(2))] == [1, 1]
    assert len(held) == 3


def test_cached_memory_of_a_gpu_is_given_back_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: events.append("emptied"))
    monkeypatch.setattr(backoff, "memory_use", lambda device: events.append("looked"))

    def work(batch: Sequence[int]) -> int:
        events.append(f"tried {len(batch)}")
        return len(fits(1)(batch))

    list(batches_on(torch.device("cuda", 0), 4)[0].run(work, range(4)))
    failed = ["looked", "emptied"]
    assert events == ["tried 4", *failed, "tried 2", *failed, *["tried 1"] * 4]


# ---------------------------------------------------------------- in an animation


@pytest.fixture
def config(media: Path, speaking_checkpoint: Path, tmp_path: Path) -> AnimateConfig:
    """30 frames in windows of 7 that move: 5 or 6 windows a step. Unsigned, to compare bytes."""
    return AnimateConfig(
        reference=media / "portrait.png",
        driving=media / "driver.mp4",
        audio=media / "speech.wav",
        checkpoint=speaking_checkpoint,
        output=tmp_path / "out.mp4",
        steps=STEPS,
        guidance=1.5,
        window={"frames": 7},
        window_batch=1,
        decode_batch=1,
        provenance=False,
    )


class Memory:
    """How much fits: windows in the denoiser, frames in the decoder; after how many calls it gets scarce."""

    def __init__(self, error: Exception = ERRORS[2]) -> None:
        self.error = error
        self.windows = self.frames = 1000
        self.spared = 0
        self.null_only = False
        self.tried: list[tuple[str, int]] = []

    def ask(self, what: str, count: int, at_most: int) -> None:
        self.tried.append((what, count))
        if count > at_most:
            if self.spared == 0:
                raise self.error
            self.spared -= 1


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    memory = Memory()
    forward, decode = Denoiser.forward, Autoencoder.decode

    def scarce_forward(self: Denoiser, latents: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if kwargs["reference"] is None or not memory.null_only:
            memory.ask("windows", len(latents), memory.windows)
        return forward(self, latents, *args, **kwargs)

    def scarce_decode(self: Autoencoder, latents: torch.Tensor) -> torch.Tensor:
        memory.ask("frames", len(latents), memory.frames)
        return decode(self, latents)

    monkeypatch.setattr(Denoiser, "forward", scarce_forward)
    monkeypatch.setattr(Autoencoder, "decode", scarce_decode)
    return memory


def output(config: AnimateConfig) -> Path:
    assert config.output is not None
    return config.output


def description(config: AnimateConfig) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(output(config).with_name("out.mp4.json").read_text())
    return values


@each_error
def test_what_is_lowered_is_said_recorded_and_changes_no_bit(
    config: AnimateConfig, memory: Memory, error: Exception
) -> None:
    """From the first step on the windows are those of a run that was given the lower numbers."""
    expected = animate(config.updated(window_batch=2, decode_batch=1)).output.read_bytes()
    assert "lowered" not in description(config)
    memory.error, memory.windows, memory.frames = error, 2, 1
    memory.tried.clear()
    notes: list[str] = []
    wanted = config.updated(window_batch=4, decode_batch=4)
    report = animate(wanted, on_note=notes.append)
    assert report.output.read_bytes() == expected
    words = "Memory ran out: {} is lowered from {} to {}, which does not change the result."
    steps = [("window_batch", 4, 2), ("decode_batch", 4, 2), ("decode_batch", 2, 1)]
    assert [note for note in notes if "Memory" in note] == [words.format(*step) for step in steps]
    assert report.lowered == [Lowering(*step) for step in steps]
    assert report.to_json()["lowered"] == description(config)["lowered"]
    assert description(config)["lowered"] == [
        dict(zip(("setting", "before", "after"), step, strict=True)) for step in steps
    ]
    assert description(config)["config"]["window_batch"] == 4  # what was asked for
    assert [tried for tried in memory.tried if tried[1] > 2] == [("windows", 4), ("frames", 4)]
    assert animate(wanted.updated(resume=True)) == report  # read back


@pytest.mark.parametrize("scheme", ["shift", "overlap"])
@pytest.mark.parametrize(("spared", "null_only"), [(0, True), (3, False)])
def test_in_the_middle_of_a_step(
    config: AnimateConfig, memory: Memory, scheme: str, spared: int, null_only: bool
) -> None:
    """Blended windows add up in a file: what is begun again must not count twice."""
    config = config.updated(window={"frames": 7, "scheme": scheme, "overlap": 3}, quality="lossless")
    plain = frames_of(animate(config.updated(window_batch=4)))
    memory.windows, memory.spared, memory.null_only = 1, spared, null_only
    seen: list[tuple[int, int]] = []

    def progress(phase: str, done: int, total: int) -> None:
        if phase == "denoising":
            seen.append((done, total))

    report = animate(config.updated(window_batch=4), on_progress=progress)
    assert report.lowered
    assert report.lowered[-1].after == 1
    assert np.abs(plain - frames_of(report)).max() <= 1
    assert plain.std() > 20
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (STEPS * SPEECH_FRAMES,) * 2


def frames_of(report: AnimateReport) -> np.ndarray:
    return np.stack(list(read_video(report.output))).astype(int)


def test_what_is_too_large_even_alone_ends_the_run_and_loses_nothing(
    config: AnimateConfig, memory: Memory
) -> None:
    memory.windows, memory.spared = 0, 8  # three batches a step, each with and without conditions
    with pytest.raises(OutOfMemory) as caught:
        animate(config.updated(window_batch=2))
    folder = RunFolder.of(output(config))
    assert "to denoise one window (tried with window_batch 2, 1)." in caught.value.message
    assert f"The work so far is kept in '{folder.path}'." in caught.value.message
    for words in ("smaller --size", "--set window.frames=N", "changes the result", "--resume goes on"):
        assert words in caught.value.fix
    assert folder.state()["steps_done"] == 1
    assert not output(config).exists()

    memory.windows = 1
    memory.tried.clear()
    report = animate(config.updated(resume=True, window_batch=1))
    assert report.lowered == [Lowering("window_batch", 2, 1)]  # what the run did before counts too
    windows = sum(count for what, count in memory.tried if what == "windows")
    assert windows == 2 * (6 + 5)  # of the two steps that were left
    assert not folder.path.exists()


def test_resumed_is_what_a_run_with_enough_memory_makes(config: AnimateConfig, memory: Memory) -> None:
    expected = animate(config).output.read_bytes()
    output(config).unlink()
    memory.windows, memory.spared = 0, 15
    with pytest.raises(OutOfMemory, match=r"tried with window_batch 1\)"):
        animate(config)
    memory.windows = 1
    report = animate(config.updated(resume=True))
    assert report.output.read_bytes() == expected
    assert report.lowered is None
    assert "lowered" not in description(config)


def test_a_smaller_picture_is_another_run(config: AnimateConfig, memory: Memory) -> None:
    """The error's other advice changes the result: not gone on with, but begun anew."""
    memory.windows, memory.spared = 0, 15
    with pytest.raises(OutOfMemory):
        animate(config)
    memory.windows = 1
    smaller = config.updated(size=32)
    with pytest.raises(ConfigError, match="size was None, now 32"):
        animate(smaller.updated(resume=True))
    assert animate(smaller).width == 32


def test_a_frame_that_cannot_be_decoded_costs_no_step(config: AnimateConfig, memory: Memory) -> None:
    expected = animate(config).output.read_bytes()
    output(config).unlink()
    memory.frames, memory.spared = 0, 11
    with pytest.raises(OutOfMemory, match="to decode one frame") as caught:
        animate(config)
    assert "window.frames" not in caught.value.fix  # it would not help
    assert {path.name for path in output(config).parent.iterdir()} == {"out.mp4.json", "out.mp4.resume"}
    memory.frames = 1
    memory.tried.clear()
    assert animate(config.updated(resume=True)).output.read_bytes() == expected
    assert {what for what, _ in memory.tried} == {"frames"}


def test_another_error_of_the_network_is_not_swallowed(config: AnimateConfig, memory: Memory) -> None:
    memory.error, memory.windows = RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 2
    notes: list[str] = []
    with pytest.raises(RuntimeError, match="mat1") as caught:
        animate(config.updated(window_batch=4), on_note=notes.append)
    assert caught.value is memory.error
    assert not [note for note in notes if "Memory" in note]


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_arguments: Any, **_named: Any) -> Any:
        raise error

    return fail


@each_error
def test_where_nothing_can_be_lowered_it_is_said_too(
    config: AnimateConfig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    folder = RunFolder.of(output(config))
    with monkeypatch.context() as patch:
        patch.setattr(DrivenEncoder, "forward", failing(error))
        with pytest.raises(OutOfMemory, match="Not enough memory on cpu to animate at 64 px") as caught:
            animate(config)
        assert "kept" not in str(caught.value)
        assert not folder.path.exists()  # nothing to go on with
    with monkeypatch.context() as patch:
        patch.setattr(ReferenceTransformer, "forward", failing(error))
        with pytest.raises(OutOfMemory, match=r"animate at 64 px.*kept in"):
            animate(config)
        assert "conditions" in folder.state()
    with monkeypatch.context() as patch:
        patch.setattr("megactor_core.animation.animate.load_checkpoint", failing(error))
        with pytest.raises(OutOfMemory, match=r"to load '.*nano'.*--dtype bfloat16"):
            animate(config)
    assert animate(config.updated(resume=True)).frames == SPEECH_FRAMES


def test_jobs_go_on_after_one_that_does_not_fit(
    config: AnimateConfig, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the engine it is tried again, as other work may have held the memory."""
    jobs = [
        config.updated(seconds=0.2, steps=1, guidance=1.0, output=tmp_path / f"{name}.mp4") for name in "ab"
    ]
    memory.windows = 0
    first = animate_jobs(jobs)
    assert [type(result) for result in first] == [OutOfMemory, OutOfMemory]
    memory.tried.clear()
    on_engine = run_jobs(jobs, journal=tmp_path / "journal", config=JobsConfig(workers=0))
    assert len(memory.tried) == 4
    for result in on_engine:
        assert isinstance(result, MegActorError)
        assert "memory: Not enough memory on cpu to denoise one window" in result.message
    memory.windows = 1
    again = run_jobs(jobs, journal=tmp_path / "journal", config=JobsConfig(workers=0))
    assert [type(result) for result in again] == [AnimateReport, AnimateReport]
