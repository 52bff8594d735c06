"""`megactor synth`."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megactor_core.config.recipes import find_recipe, read_recipe
from megactor_core.config.synth import FAULT_KINDS, SynthConfig
from megactor_core.errors import Interrupted, MegActorError

TINY_CORPUS = ("synth", "--clips", "2", "--seconds", "0.2", "--size", "64", "--workers", "0")


@dataclass(frozen=True)
class FakeReport:
    """As much of a report as the command line reads."""

    bytes: int = 1_500_000

    def to_json(self) -> dict[str, Any]:
        return {"output": "out", "clips": 2, "faults": {"no_face": 1}, "bytes": self.bytes}


@dataclass
class FakeCorpus:
    """Stands for megactor_core.synthetic.corpus."""

    configs: list[SynthConfig] = field(default_factory=list)
    error: MegActorError | None = None

    def make_corpus(
        self, config: SynthConfig, *, on_progress: Callable[..., None], on_note: Callable[[str], None]
    ) -> FakeReport:
        self.configs.append(config)
        on_note("a note from the core")
        on_progress("filming clips", 2, 2)
        if self.error:
            raise self.error
        return FakeReport()


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch) -> FakeCorpus:
    fake = FakeCorpus()
    module = ModuleType("megactor_core.synthetic.corpus")
    vars(module).update(make_corpus=fake.make_corpus)
    monkeypatch.setitem(sys.modules, "megactor_core.synthetic.corpus", module)
    return fake


def test_without_options_the_defaults_hold(corpus, megactor) -> None:
    assert megactor("synth").exit_code == 0
    assert corpus.configs == [SynthConfig()]


def test_options_reach_the_core(corpus, megactor) -> None:
    words = (
        "synth --clips 7 --seconds 1.5 --size 128 --fps 30000/1001 --identities 3 --seed 5 --motion-scale .5 "
        "--twins --faults --output out --workers 2"
    )
    assert megactor(*words.split()).exit_code == 0
    expected = {
        "clips": 7,
        "seconds": 1.5,
        "size": 128,
        "fps": "30000/1001",
        "identities": 3,
        "seed": 5,
        "motion_scale": 0.5,
        "twins": True,
        "faults": {"enabled": True},
        "output": "out",
        "workers": 2,
    }
    assert corpus.configs == [SynthConfig.build(expected, source="test")]


def test_the_switch_and_the_settings_of_faults_go_together(corpus, megactor) -> None:
    megactor("synth", "--faults", "--set", "faults.kinds=[av_offset, no_face]", "--set", "faults.share=0.2")
    faults = corpus.configs[0].faults
    assert (faults.enabled, faults.kinds, faults.share) == (True, ("av_offset", "no_face"), 0.2)


def test_faults_are_off_unless_asked_for(corpus, megactor) -> None:
    megactor("synth", "--set", "faults.share=0.2")
    assert not corpus.configs[0].faults.enabled


@pytest.mark.parametrize("name", ["tiny", "faults"])
def test_recipes(corpus, megactor, name: str) -> None:
    assert megactor("synth", "--recipe", name, "--clips", "9").exit_code == 0
    config = corpus.configs[0]
    assert config.clips == 9
    expected = SynthConfig.build(read_recipe(find_recipe("synth", name)) | {"clips": 9}, source="test")
    assert config == expected
    if name == "tiny":
        assert (config.motion_scale, config.plain, config.twins) == (0.25, True, True)
    else:
        assert config.faults.enabled
        assert config.faults.kinds == FAULT_KINDS


def test_the_result_for_people_and_for_programs(corpus, megactor) -> None:
    people, programs = megactor("synth"), megactor("synth", "--json")
    assert "1.5 MB" in people.out
    assert "no_face: 1" in people.out
    assert "a note from the core" in people.err
    assert "filming clips: 2/2 (100 %)" in people.err
    assert json.loads(programs.out)["bytes"] == 1_500_000
    assert megactor("synth", "--quiet").err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "63"], "--size is '63', but must be a multiple of 2"),
        (["--size", "8"], "--size is '8', but must be at least 32"),
        (["--size", "4000"], "--size is '4000', but must be at most 2048"),
        (["--clips", "0"], "--clips is '0', but must be at least 1"),
        (["--clips", "many"], "--clips is 'many', but must be a whole number"),
        (["--seconds", "0.001"], "less than a frame"),
        (["--fps", "fast"], "--fps"),
        (["--set", "faults.kinds=[ghosts]"], "faults.kinds"),
        (["--set", "fault.share=1"], "did you mean 'faults'"),
    ],
)
def test_bad_values_are_one_message(corpus, megactor, words: list[str], message: str) -> None:
    result = megactor("synth", *words)
    assert (result.exit_code, result.out) == (2, "")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not corpus.configs


def test_ctrl_c_says_how_to_go_on(corpus, megactor) -> None:
    corpus.error = Interrupted("Interrupted; 1 of 2 clips are in 'out'.", fix="Run it again.")
    result = megactor("synth", "--quiet")
    assert (result.exit_code, result.err) == (
        130,
        "Error: Interrupted; 1 of 2 clips are in 'out'. Run it again.\n",
    )


def test_a_corpus_from_the_command_line(megactor, tmp_path: Path) -> None:
    first = megactor(*TINY_CORPUS, "--twins", "--json")
    assert first.exit_code == 0
    report = json.loads(first.out)
    folder = tmp_path / "data/raw/synthetic"
    assert report["output"] == "data/raw/synthetic"
    assert (report["clips"], report["twins"], report["identities"], report["frames"]) == (2, 2, 2, 10)
    assert report["bytes"] == sum(path.stat().st_size for path in (folder / "clips").iterdir())
    assert (folder / "sheet.png").exists()
    again = megactor(*TINY_CORPUS, "--twins", "--json")
    assert json.loads(again.out) == report | {"filmed": 0, "clips_per_minute": None}
    other = megactor(*TINY_CORPUS, "--json")
    assert other.exit_code == 2
    assert "twins = True; now twins = False" in json.loads(other.out)["error"]["message"]


def test_an_output_that_cannot_be_written(megactor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = megactor(*TINY_CORPUS, "--output", "file/corpus")
    assert result.exit_code == 2
    assert "Cannot write into the folder 'file/corpus'" in result.err
