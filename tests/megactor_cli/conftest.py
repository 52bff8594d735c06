"""A command line that runs inside the test's process, with a core that only remembers what it was asked."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from megactor_cli.app import run
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.jobs import JobsConfig
from megactor_core.errors import MegActorError


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    exit_code: int
    out: str
    err: str


@dataclass(frozen=True)
class FakeReport:
    """As much of a report as the command line reads."""

    output: Path

    def to_json(self) -> dict[str, Any]:
        return {"output": str(self.output), "frames": 50}


@dataclass(frozen=True)
class FakeDemoReport:
    """As much of a demo's report as the command line reads."""

    report: Path
    videos: tuple[Path, ...]
    steps: dict[str, SimpleNamespace]

    def to_json(self) -> dict[str, Any]:
        return {"report": str(self.report), "steps": list(self.steps)}


@dataclass
class FakeCore:
    """Stands for megactor_core's animation.animate, animation.jobs, demo.example and demo.run."""

    configs: list[AnimateConfig] = field(default_factory=list)
    spread: list[tuple[Path, JobsConfig]] = field(default_factory=list)
    """Journal and settings of each run of jobs by workers."""
    demo_arguments: list[tuple[Path, bool]] = field(default_factory=list)
    behave: Callable[[AnimateConfig], None] = lambda _config: None
    """Raises what `animate` shall raise."""

    def animate(
        self, config: AnimateConfig, on_progress: Callable[..., None], on_note: Callable[[str], None]
    ) -> FakeReport:
        self.configs.append(config)
        self.behave(config)
        on_note("a note from the core")
        for done in range(1, 3):
            on_progress("denoising", done, 2)
        return FakeReport(config.output or Path("outputs/video.mp4"))

    def animate_jobs(
        self,
        configs: Sequence[AnimateConfig],
        *,
        on_progress: Callable[..., None],
        on_note: Callable[[str], None],
        on_done: Callable[[Any], None],
    ) -> list[FakeReport | MegActorError]:
        results: list[FakeReport | MegActorError] = []
        for config in configs:
            try:
                results.append(self.animate(config, on_progress, on_note))
            except MegActorError as error:
                results.append(error)
            on_done(results[-1])
        return results

    def run_jobs(
        self,
        configs: Sequence[AnimateConfig],
        *,
        journal: Path,
        config: JobsConfig,
        on_progress: Callable[..., None],
        on_note: Callable[[str], None],
        on_done: Callable[[int, Any], None],
    ) -> list[FakeReport | MegActorError]:
        """As workers do, the last job ends first."""
        self.spread.append((journal, config))
        numbers = iter(range(len(configs), 0, -1))
        results = self.animate_jobs(
            configs[::-1],
            on_progress=on_progress,
            on_note=on_note,
            on_done=lambda result: on_done(next(numbers), result),
        )
        return results[::-1]

    def example(self) -> SimpleNamespace:
        return SimpleNamespace(reference=Path("r.png"), driving=Path("d.mp4"), audio=Path("a.wav"))

    def run_demo(
        self, output: Path, *, fast: bool, on_progress: Callable[..., None], on_note: Callable[[str], None]
    ) -> FakeDemoReport:
        self.demo_arguments.append((output, fast))
        on_note("Step 1 of 1: corpus.")
        on_progress("1/1 corpus: filming clips", 1, 1)
        steps = {"corpus": SimpleNamespace(wall_seconds=12.34)}
        return FakeDemoReport(output / "report.html", (output / "videos" / "A.mp4",), steps)


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> FakeCore:
    """A fake core in the place of the real one."""
    fake = FakeCore()
    for part in ("animation.animate", "animation.jobs", "demo.example", "demo.run"):
        name = f"megactor_core.{part}"
        module = ModuleType(name)
        vars(module).update(
            animate=fake.animate,
            animate_jobs=fake.animate_jobs,
            run_jobs=fake.run_jobs,
            example=fake.example,
            run_demo=fake.run_demo,
        )
        monkeypatch.setitem(sys.modules, name, module)
    return fake


@pytest.fixture
def megactor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Result]:
    """Runs `megactor ...` in an empty working directory, with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MEGACTOR_DEBUG", raising=False)

    def call(*arguments: str) -> Result:
        exit_code = run(list(arguments))
        captured = capsys.readouterr()
        return Result(exit_code, captured.out, captured.err)

    return call
