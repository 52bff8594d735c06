"""The demo itself: steps in turn, going on after an interruption, and once the whole chain."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from megactor_core.config.model import ModelConfig
from megactor_core.config.synth import SynthConfig
from megactor_core.demo import run as module
from megactor_core.demo.data_steps import film_corpus
from megactor_core.demo.run import run_at_scale, run_demo
from megactor_core.demo.step import Shown, Step
from megactor_core.demo.workplace import FAST, FULL, DefaultModel, Scale, Workplace
from megactor_core.errors import Interrupted, OutputError, Terminated
from megactor_core.listener import Listener
from megactor_core.models.checkpoint import CheckpointInfo
from megactor_core.pages.page import paragraph
from megactor_core.synthetic.plan import clip_facts, plan_clip

TINY = Scale(
    name="other",
    clips=6,
    training_steps=2,
    seconds=0.2,
    held_out_clips=1,
)
Work = Callable[[Listener], Shown]


@pytest.fixture
def chain(monkeypatch) -> dict[str, Work]:
    """Two steps that tests fill with work; the model is never loaded."""
    works: dict[str, Work] = {name: lambda _listener: Shown((paragraph("done"),)) for name in ("one", "two")}
    info = CheckpointInfo(name="x", trained=True, model=ModelConfig.preset("nano"))
    monkeypatch.setattr(DefaultModel, "find", lambda *_: DefaultModel(Path("x"), info, "abc"))
    monkeypatch.setattr(module, "steps_of", lambda _: tuple(Step(n, n, (), works[n]) for n in works))
    return works


def test_progress_and_notes_say_which_step_it_is(chain, tmp_path) -> None:
    def work(listener: Listener) -> Shown:
        listener.progress("filming", 1, 2)
        return Shown((), videos=(tmp_path / "a.mp4",))

    chain["two"] = work
    heard: list[object] = []
    report = run_demo(tmp_path / "demo", on_progress=lambda *event: heard.append(event), on_note=heard.append)
    assert heard == ["Step 1 of 2: one.", "Step 2 of 2: two.", ("2/2 two: filming", 1, 2)]
    assert report.report.is_file()
    assert report.to_json()["videos"] == [str(tmp_path / "a.mp4")]
    assert all(time.is_done for time in report.steps.values())


@pytest.mark.parametrize(
    ("stop", "kind"),
    [(Interrupted("Stopped.", fix="--resume"), Interrupted), (Terminated("Stopped."), Terminated)],
)
def test_an_interrupted_demo_says_how_to_go_on_and_does(chain, tmp_path, stop, kind) -> None:
    def work(_listener: Listener) -> Shown:
        raise stop

    finished, chain["two"] = chain["two"], work
    with pytest.raises(kind) as caught:
        run_demo(tmp_path / "demo")
    assert (caught.value.message, caught.value.fix) == ("Stopped.", "Run the same command again to go on.")
    assert not (tmp_path / "demo" / "report.html").exists()
    chain["two"] = finished
    assert run_demo(tmp_path / "demo").report.is_file()


def test_ctrl_c_between_the_cores_own_work_is_an_interruption(chain, tmp_path) -> None:
    def work(_listener: Listener) -> Shown:
        raise KeyboardInterrupt

    chain["one"] = work
    with pytest.raises(Interrupted, match="Run the same command again"):
        run_demo(tmp_path / "demo")


def test_a_folder_is_full_or_fast(chain, tmp_path) -> None:
    run_demo(tmp_path / "demo", fast=True)
    with pytest.raises(OutputError, match="scale = fast; now scale = full"):
        run_demo(tmp_path / "demo")


def test_a_folder_of_something_else_is_left_alone(chain, tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="no demo"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_both_scales_hold_people_back() -> None:
    """The seed's sixth person is the first who is held out."""
    assert min(FAST.clips, FULL.clips, TINY.clips) >= 6


def test_what_is_wrong_on_purpose_is_nobody_who_is_held_out() -> None:
    workplace = Workplace(Path("x"), FULL, None)  # type: ignore[arg-type]  # no step here asks for the model
    (command,) = film_corpus(workplace).commands
    config = command.config(SynthConfig)
    facts = [clip_facts(plan_clip(number, config), config) for number in range(FULL.clips)]
    faulty = [number for number, clip in enumerate(facts) if clip["fault"] is not None]
    held_out = [number for number, clip in enumerate(facts) if clip["split"] == "validation"]
    assert held_out == [5, 16, 20]
    assert not set(faulty) & set(held_out)
    assert 1 <= sum(number < TINY.clips for number in faulty) < len(faulty) <= FULL.clips // 3


@pytest.mark.slow
def test_the_whole_chain_is_done_once_and_shown(tmp_path) -> None:
    phases: list[str] = []
    listener = Listener(progress=lambda phase, _done, _total: phases.append(phase))
    first = run_at_scale(tmp_path / "demo", TINY, listener=listener)
    assert list(first.steps) == ["corpus", "curation", "samples", "training", "animation", "evaluation"]
    assert {phase.split(" ")[0] for phase in phases} == {f"{number}/6" for number in range(1, 7)}
    assert [path.name for path in first.videos[:3]] == ["A.mp4", "V.mp4", "A+V.mp4"]
    page = first.report.read_text(encoding="utf-8")
    assert len(re.findall("data:video/mp4;base64,", page)) == 4
    assert set(re.findall(r'(?:src|href)="([a-z#]+)', page)) == {"data", "#s"}
    assert all(
        f"megactor {name} " in page
        for name in ("synth", "curate", "preprocess", "train", "animate", "evaluate")
    )
    assert "PSNR" in page
    assert "two_faces" in page

    files = {path: path.stat().st_ino for path in tmp_path.rglob("*.mp4")}
    phases.clear()
    second = run_at_scale(tmp_path / "demo", TINY, listener=listener)
    assert second.steps == first.steps
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*.mp4")} == files
    work = {"filming clips", "training", "denoising", "writing", "animating held-out clips"}
    assert not {phase for phase in phases if any(phase.endswith(name) for name in work)}
    assert second.report.read_text(encoding="utf-8") == page
