"""Many jobs on the engine: what comes out is what one process makes, whatever happens on the way."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.animation import animate as animate_module
from megactor_core.animation import jobs as jobs_module
from megactor_core.animation.animate import Animator, animate_jobs
from megactor_core.animation.jobs import AnimateJob, JobResult, row_id, run_jobs
from megactor_core.animation.report import AnimateReport
from megactor_core.animation.verify import verify
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.jobs import JobsConfig
from megactor_core.engine.stage import Rejected, WorkerContext
from megactor_core.errors import ConfigError, Interrupted, MediaError, MegActorError, OutputError
from megactor_core.files import sole_owner

pytestmark = pytest.mark.slow  # whole runs

HERE, IN_ONE = JobsConfig(workers=0), JobsConfig(workers=1)
Run = Callable[..., list[JobResult]]


@pytest.fixture
def job(
    media: Path, speaking_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AnimateConfig]:
    """job("a", seed=3): a short job that writes a.mp4 into the test's folder, which is the current one.

    Unsigned, to compare bytes.
    """
    monkeypatch.chdir(tmp_path)

    def make(name: str, **settings: Any) -> AnimateConfig:
        values = {
            "reference": media / "portrait.png",
            "audio": media / "speech.wav",
            "checkpoint": speaking_checkpoint,
            "output": Path(f"{name}.mp4"),
            "seconds": 0.2,
            "steps": 1,
            "guidance": 1.0,
            "provenance": False,
        }
        return AnimateConfig(**{**values, **settings})

    return make


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run_jobs` with the journal in the test's folder; in this process unless told otherwise."""

    def call(
        configs: Sequence[AnimateConfig], config: JobsConfig = HERE, **callbacks: Any
    ) -> list[JobResult]:
        return run_jobs(configs, journal=tmp_path / "jobs.yaml.journal", config=config, **callbacks)

    return call


@pytest.fixture
def animated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the jobs that were begun in this process."""
    names: list[str] = []
    real = Animator.animate

    def animate(animator: Animator, config: AnimateConfig, listener: Any) -> AnimateReport:
        names.append(str(config.output))
        return real(animator, config, listener)

    monkeypatch.setattr(Animator, "animate", animate)
    return names


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Jobs do what their names say. Workers find the module too: they get this process's sys.path."""
    sys.path.insert(0, str(Path(__file__).parent))
    stages = importlib.import_module("job_stages")
    monkeypatch.setattr(jobs_module, "AnimateJob", stages.FaultyJob)
    return stages


def plain(results: Sequence[JobResult]) -> list[Any]:
    """Results without the time that they took."""
    return [
        (type(result), result.message, result.fix)
        if isinstance(result, MegActorError)
        else replace(result, compute_seconds=0)
        for result in results
    ]


def files(folder: Path) -> dict[str, bytes]:
    """The bytes of the videos and pictures there."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in {".mp4", ".png"}}


def outputs(results: Sequence[JobResult]) -> list[str | None]:
    """The files that were made; None for an error."""
    return [str(result.output) if isinstance(result, AnimateReport) else None for result in results]


# ---------------------------------------------------------------- as in one process, one after the other


def mixed_jobs(job: Callable[..., AnimateConfig], media: Path) -> list[AnimateConfig]:
    """Two good ones, and one of each way to fail."""
    return [
        job("bad", reference=Path("nobody.png")),
        job("all", driving=media / "driver.mp4", compare=True, contact_sheet=True),
        job("theirs"),
        job("good", seed=3),
        job("good", seed=4),
        job("again", output=Path("folder") / ".." / "good.mp4"),
        job("suffix", output=Path("video.avi")),
        job("weights", checkpoint=Path("none")),
    ]


@pytest.mark.parametrize("config", [HERE, IN_ONE], ids=["here", "one worker"])
def test_results_are_those_of_one_process(
    run: Run, job: Callable[..., AnimateConfig], media: Path, tmp_path: Path, config: JobsConfig
) -> None:
    configs = mixed_jobs(job, media)
    (tmp_path / "theirs.mp4").write_bytes(b"precious")
    alone = animate_jobs(configs)
    made = files(tmp_path)
    assert {"all.mp4", "all.compare.mp4", "all.sheet.png", "good.mp4"} < made.keys()
    for name in made.keys() - {"theirs.mp4"}:
        (tmp_path / name).unlink()
    told: list[tuple[int, JobResult]] = []
    notes: list[str] = []
    done: list[tuple[int, int]] = []
    results = run(
        configs,
        config,
        on_progress=lambda _phase, *steps: done.append(steps),
        on_note=notes.append,
        on_done=lambda *result: told.append(result),
    )
    assert plain(results) == plain(alone)
    assert [type(r) for r in results].count(AnimateReport) == 2
    assert files(tmp_path) == made
    assert [number for number, _ in sorted(told, key=lambda pair: pair[0])] == list(range(1, 9))
    assert all(plain([result]) == plain([results[number - 1]]) for number, result in told)
    assert [note for note in notes if "untrained" in note] == notes != []
    assert len(notes) == len(set(notes))
    assert done[-1] == (6, 6)  # two were refused at once


def test_what_an_earlier_run_made_is_in_the_result_and_not_made_again(
    run: Run, job: Callable[..., AnimateConfig], animated: list[str]
) -> None:
    configs, notes = [job("a"), job("bad", reference=Path("nobody.png")), job("b", seed=2)], []
    first = run(configs)
    animated.clear()
    again = run(list(reversed(configs)), on_note=notes.append)
    assert again == [first[2], again[1], first[0]]
    assert animated == ["bad.mp4"]  # no finished work: what was wrong with it may be mended by now
    assert isinstance(again[1], MediaError)
    assert "2 of 3 jobs were done already." in notes


def test_a_job_that_failed_is_done_when_its_input_is_there(
    run: Run, job: Callable[..., AnimateConfig], media: Path, tmp_path: Path
) -> None:
    config = job("a", reference=Path("late.png"))
    for _ in range(3):
        assert outputs(run([config])) == [None]
    (tmp_path / "late.png").write_bytes((media / "portrait.png").read_bytes())
    assert outputs(run([config])) == ["a.mp4"]


@pytest.mark.parametrize(
    ("settings", "is_redone"),
    [
        ({"seed": 9}, True),
        ({"compare": True}, True),
        ({"window": {"frames": 8}}, True),
        ({"resume": True}, False),
        ({"decode_batch": 2, "window_batch": 2, "device": "cpu", "overwrite": True}, False),
    ],
)
def test_a_changed_setting_does_its_job_again(
    run: Run,
    job: Callable[..., AnimateConfig],
    animated: list[str],
    settings: dict[str, Any],
    is_redone: bool,
) -> None:
    run([job("a"), job("b")])
    animated.clear()
    results = run([job("a"), job("b", **settings)])
    assert animated == ["b.mp4"] * is_redone
    assert outputs(results) == ["a.mp4", "b.mp4"]


def test_changed_inputs_and_weights_do_their_jobs_again(
    run: Run, job: Callable[..., AnimateConfig], animated: list[str], media: Path, tmp_path: Path
) -> None:
    own = {"reference": tmp_path / "own.png"}
    own["reference"].write_bytes((media / "portrait.png").read_bytes())
    configs = [job("a"), job("b", **own), job("c", checkpoint=None, size=64)]
    run(configs)
    os.utime(own["reference"], ns=(1, 1))
    animated.clear()
    run(configs)
    assert animated == ["b.mp4"]


@pytest.mark.parametrize(
    ("lost", "how"),
    [("a.mp4", "gone"), ("a.mp4", "cut short"), ("a.compare.mp4", "gone"), ("a.sheet.png", "gone")],
)
def test_a_job_whose_files_are_not_whole_is_done_again_once(
    run: Run, job: Callable[..., AnimateConfig], animated: list[str], tmp_path: Path, lost: str, how: str
) -> None:
    configs = [job("a", compare=True, contact_sheet=True), job("b")]
    first, made = run(configs), files(tmp_path)
    if how == "gone":
        (tmp_path / lost).unlink()
    else:
        (tmp_path / lost).write_bytes(made[lost][:-1])
    animated.clear()
    assert plain(run(configs)) == plain(first)
    assert files(tmp_path) == made
    run(configs)
    assert animated == ["a.mp4"]


def test_a_strange_file_in_the_place_of_a_finished_job_is_kept(
    run: Run, job: Callable[..., AnimateConfig], media: Path, tmp_path: Path
) -> None:
    run([job("a")])
    (tmp_path / "a.mp4.json").unlink()
    theirs = (media / "driver.mp4").read_bytes()  # a video, but not one of this tool's animations
    (tmp_path / "a.mp4").write_bytes(theirs)
    (error,) = run([job("a")])
    assert isinstance(error, OutputError)
    assert "was not written by megactor" in error.message
    assert (tmp_path / "a.mp4").read_bytes() == theirs


def test_an_error_that_nobody_foresaw_stays_on_its_job(
    run: Run, job: Callable[..., AnimateConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Path] = []
    real = animate_module.write_output

    def break_one(work: Any, *args: Any) -> None:
        tries.append(work.outputs.video)
        if work.config.seed == 1:
            raise RuntimeError("out of luck")
        real(work, *args)

    monkeypatch.setattr(animate_module, "write_output", break_one)
    results = run([job("a"), job("b", seed=1), job("c")])
    assert outputs(results) == ["a.mp4", None, "c.mp4"]
    assert "exception: RuntimeError: out of luck" in results[1].message
    assert tries.count(Path("b.mp4")) == 2


def test_ctrl_c_says_how_far_it_came_and_the_same_call_goes_on(
    run: Run, job: Callable[..., AnimateConfig], animated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [job("a"), job("b"), job("c")]

    def stop(work: Any, *args: Any) -> None:
        if work.outputs.video.stem == "b":
            raise KeyboardInterrupt
        real(work, *args)

    real = animate_module.write_output
    with monkeypatch.context() as patch:
        patch.setattr(animate_module, "write_output", stop)
        with pytest.raises(Interrupted, match=r"1 of 3 jobs are done, by the journal '.*jobs.yaml.journal'"):
            run(configs)
    animated.clear()
    assert outputs(run(configs)) == ["a.mp4", "b.mp4", "c.mp4"]
    assert animated == ["b.mp4", "c.mp4"]


def test_two_runs_do_not_share_a_journal(run: Run, job: Callable[..., AnimateConfig], tmp_path: Path) -> None:
    run([job("a")])
    with (
        sole_owner(tmp_path / "jobs.yaml.journal" / "lock"),
        pytest.raises(OutputError, match="in use by another run"),
    ):
        run([job("a")])


# ---------------------------------------------------------------- the stage


@pytest.mark.parametrize(
    ("worker", "asked", "meant"),
    [("cuda:1", "auto", "cuda:1"), ("cuda:1", "cpu", "cpu"), ("cpu", "auto", "auto"), ("cpu", "mps", "mps")],
)
def test_auto_means_the_workers_gpu(
    job: Callable[..., AnimateConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    worker: str,
    asked: str,
    meant: str,
) -> None:
    def refuse(name: str) -> None:
        raise ConfigError(f"asked for {name}")

    monkeypatch.setattr(animate_module, "resolve_device", refuse)
    stage = AnimateJob(tmp_path)
    stage.setup(WorkerContext(device=worker))
    values = job("a", device=asked).model_dump(mode="json")
    with pytest.raises(Rejected) as caught:
        list(stage.rows([{"row_id": "a", "job": values}]))
    assert (caught.value.reason, caught.value.values["message"]) == ("ConfigError", f"asked for {meant}")


def test_relative_paths_begin_where_the_run_was_started(
    run: Run, job: Callable[..., AnimateConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = AnimateJob.of([job("a")])
    monkeypatch.chdir("/")
    stage.setup(WorkerContext())
    assert Path.cwd() == tmp_path
    with pytest.raises(MegActorError, match="cannot go to"):
        AnimateJob(tmp_path / "none").setup(WorkerContext())


def test_needs_grow_with_the_checkpoint(job: Callable[..., AnimateConfig], tmp_path: Path) -> None:
    stage = AnimateJob.of([job("a")])
    assert (stage.needs.gpus, stage.needs.batch_rows) == (1, 1)
    large = tmp_path / "large"
    large.mkdir()
    with (large / "sigma.safetensors").open("wb") as file:
        file.truncate(5 * 2**30)
    grown = AnimateJob.of([job("a"), job("b", checkpoint=Path("large"))])
    assert grown.needs.memory_gb == pytest.approx(stage.needs.memory_gb + 10, abs=0.1)
    assert large / "manifest.json" in grown.manifests


@given(
    st.lists(st.text(min_size=1).filter(lambda text: "\0" not in text), min_size=2, max_size=2, unique=True)
)
def test_ids_are_printable_and_tell_outputs_apart(names: list[str]) -> None:
    paths = [Path("/", "folder", name.replace("/", "_").replace("\0", "") + ".mp4") for name in names]
    ids = [row_id(AnimateConfig(output=path)) for path in paths]
    assert all(name.isprintable() for name in ids)
    assert (ids[0] == ids[1]) == (paths[0] == paths[1])


def test_a_file_name_of_any_bytes_will_do(run: Run, job: Callable[..., AnimateConfig]) -> None:
    name = os.fsdecode(b"\xff\n\\x")
    configs = [job("a", output=Path(f"{name}.mp4"))]
    assert outputs(run(configs)) == outputs(run(configs)) == [f"{name}.mp4"]


def test_workers_sign_with_this_users_key(
    run: Run, job: Callable[..., AnimateConfig], tmp_path: Path
) -> None:
    run([job("a", provenance=True), job("b", provenance=True, compare=True)], IN_ONE)
    for name in ("a.mp4", "b.mp4", "b.compare.mp4"):
        assert verify(tmp_path / name).credential.state == "trusted"


# ---------------------------------------------------------------- workers that die


@pytest.mark.usefixtures("faults")
def test_a_worker_that_dies_costs_only_the_job_that_it_died_of(
    run: Run, job: Callable[..., AnimateConfig], tmp_path: Path
) -> None:
    """In the middle of a job, after its video but before its description, and each time."""
    names = ["a", "middle", "poison", "end", "b"]
    results = run([job(name, compare=True) for name in names], IN_ONE)
    assert outputs(results) == ["a.mp4", "middle.mp4", None, "end.mp4", "b.mp4"]
    assert results[2].message.startswith("killed_worker: the worker died on this row each time")
    assert "SIGKILL" in results[2].message
    videos = files(tmp_path)
    assert {videos[f"{name}.mp4"] for name in ("a", "middle", "end", "b")} == {videos["a.mp4"]}
    left = [path.name for path in tmp_path.iterdir() if "partial" in path.name or path.suffix == ".resume"]
    assert left == []


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_run_that_is_killed_goes_on(
    run: Run, job: Callable[..., AnimateConfig], animated: list[str], tmp_path: Path, workers: str
) -> None:
    configs = [job(name, seed=n, seconds=1.0, steps=4) for n, name in enumerate("abcd")]
    jobs = [config.model_dump(mode="json", exclude_defaults=True) for config in configs]
    (tmp_path / "jobs.yaml").write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "megactor_cli", "animate", "--jobs", "jobs.yaml", "--workers", workers]
    killed = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    while killed.poll() is None and not (tmp_path / "b.mp4").exists():
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    results = run(configs)
    assert outputs(results) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    assert "a.mp4" not in animated
    made = files(tmp_path)
    assert plain(results) == plain(animate_jobs(configs))
    assert files(tmp_path) == made
