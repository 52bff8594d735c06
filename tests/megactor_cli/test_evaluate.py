"""`megactor evaluate`: options reach their settings, what is said can be read by people and by scripts."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.evaluation.compare import ComparedMetric, Comparison
from megactor_core.evaluation.pairing import Failure
from megactor_core.evaluation.result import EvaluateResult, MetricValue, SetResult

PSNR = MetricValue(
    value=31.25, interval=(30.5, 32.0), count=3, better="higher", unit="dB", preprocessing="RGB, 25 fps"
)
SYNC = replace(PSNR, value=7.5, interval=None, count=1, unit="", preprocessing="crop: landmarks")
ONE = SetResult(
    metrics={"sync_c": SYNC, "psnr": PSNR},
    missing={"fid": {"reason": "no weights", "fix": "Run `megactor weights pull fid`."}},
    pairs={"paired": 3, "measured": 3},
    warnings=("1 clips have no real counterpart: x.",),
)
RESULT = EvaluateResult(
    output=Path("out"),
    inputs={"generated": "g", "real": "r"},
    protocol={"name": "quick", "changed": {}, "left_open": [], "settings": {}},
    preprocessing={"psnr": "RGB, 25 fps", "sync": "crop: landmarks"},
    weights={},
    quoted=None,
    sets={"": ONE},
)
COMPARISON = Comparison(
    a="a",
    b="b",
    rows=(ComparedMetric("", "psnr", "PSNR↑", 30.0, 31.0, 1.0, (0.5, 1.5), 3, "B"),),
    warnings=("FID is not compared: x.",),
)


@dataclass
class Remembered:
    """What the core was asked for, and what it shall answer."""

    result: EvaluateResult = RESULT
    asked: list[Any] = field(default_factory=list)


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Remembered:
    remembered = Remembered()

    def run(config: EvaluateConfig, *, on_progress: Any, on_note: Any) -> EvaluateResult:
        remembered.asked.append(config)
        on_note("a note from the core")
        on_progress("scoring", 1, 1)
        return remembered.result

    def compare(a: Path, b: Path, *, seed: int) -> Comparison:
        remembered.asked.append((a, b, seed))
        return COMPARISON

    def write_comparison(comparison: Comparison, *, output: Path | None) -> Path:
        remembered.asked.append(output)
        return Path("page.html")

    monkeypatch.setattr("megactor_core.evaluation.run.evaluate", run)
    monkeypatch.setattr("megactor_core.evaluation.comparison_report.write_comparison", write_comparison)
    monkeypatch.setattr("megactor_core.evaluation.compare.compare", compare)
    return remembered


def test_every_option_reaches_its_setting(core: Remembered, megactor) -> None:
    given = {
        "generated": ("g", Path("g")),
        "real": ("r", Path("r")),
        "checkpoint": ("c", Path("c")),
        "data": ("d", Path("d")),
        "modes": ("A,A+V", ("A", "A+V")),
        "clips": ("5", 5),
        "output": ("o", Path("o")),
        "metrics": ("psnr, fid", ("psnr", "fid")),
        "size": ("256", 256),
        "batch_size": ("3", 3),
        "device": ("cpu", "cpu"),
        "engine": ("local", "local"),
        "workers": ("2", 2),
    }
    arguments = [part for name, (text, _) in given.items() for part in ("--" + name.replace("_", "-"), text)]
    result = megactor("evaluate", *arguments, "--retry-errors", "--set", "generate.steps=7")
    assert result.exit_code == 0, result.err
    expected = {name: value for name, (_, value) in given.items()}
    assert core.asked == [EvaluateConfig(retry_errors=True, generate={"steps": 7}, **expected)]


@pytest.mark.parametrize("name", ["paper-hdtf", "evaluate/paper-hdtf"])
def test_a_protocol_is_a_recipe_below_all_others(core: Remembered, megactor, name: str) -> None:
    assert megactor("evaluate", "--protocol", name, "--set", "fvd_frames=20").exit_code == 0
    (config,) = core.asked
    assert (config.protocol, config.quoted, config.size, config.fvd_frames) == ("paper-hdtf", "hdtf", 512, 20)
    assert {"fid", "fvd", "lpips", "sync"} <= set(config.wanted)
    assert config.metrics is None
    assert len(config.left_open) == 7
    assert megactor("evaluate", "--protocol", name, "--size", "128").exit_code == 0
    assert core.asked[-1].size == 128


def test_the_default_protocol_needs_no_weights(core: Remembered, megactor) -> None:
    assert megactor("evaluate").exit_code == 0
    assert megactor("evaluate", "--protocol", "quick").exit_code == 0
    assert core.asked[0] == core.asked[1]
    assert not {"fid", "fvd", "lpips", "sync"} & set(core.asked[0].wanted)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "psnr,fad"], "Error: --metrics is 'fad', but must be"),
        (["--metrics", ","], "metrics is empty"),
        (["--modes", "A,B"], "Error: --modes is 'B', but must be"),
        (["--protocol", "quik"], "Error: There is no recipe 'quik' for evaluate; did you mean 'quick'?\n"),
        (["--batch-size", "0"], "Error: --batch-size is '0', but must be at least 1.\n"),
        (["--set", "fid=clean"], "Error: --set fid is not a known key;"),
        (["--compare", "a"], "--compare"),
    ],
)
def test_a_wrong_value_is_one_message_and_exit_code_2(
    core: Remembered, megactor, arguments: list[str], message: str
) -> None:
    result = megactor("evaluate", *arguments)
    assert (result.exit_code, result.out) == (2, "")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert core.asked == []


def test_people_read_numbers_intervals_and_preprocessing(core: Remembered, megactor) -> None:
    result = megactor("evaluate")
    lines = [line.split() for line in result.out.splitlines()]
    assert ["PSNR↑", "31.25", "30.5", "to", "32", "dB", "3", "RGB,", "25", "fps"] in lines
    assert "Run `megactor weights pull fid`." in result.out
    assert "As Table 2" in result.out  # there is a Sync-C
    assert "Warning: 1 clips have no real counterpart: x." in result.err
    assert "a note from the core" in result.err


def test_modes_stand_side_by_side_under_the_papers_rows(core: Remembered, megactor) -> None:
    core.result = replace(RESULT, sets={"A": ONE, "A+V": ONE}, quoted="hdtf")
    result = megactor("evaluate")
    lines = [line.split() for line in result.out.splitlines()]
    assert ["metric", "A", "A+V", "unit", "preprocessing"] in lines
    assert ["PSNR↑", "31.25", "31.25", "dB", "RGB,", "25", "fps"] in lines
    assert ["quoted:", "paper", "A+V", "31.497", "302.87", "0.0812", "6.8226", "8.1026"] in lines
    assert ["measured", "A+V", "-", "-", "-", "7.5000", "-"] in lines
    assert "Warning: A+V: 1 clips" in result.err


def test_the_last_lines_name_the_files(core: Remembered, megactor) -> None:
    lines = [line.split() for line in megactor("evaluate").out.splitlines()]
    assert lines[-2:] == [["result", "out/metrics.json"], ["report", "out/report.html"]]


def test_what_the_protocol_leaves_open_is_said(core: Remembered, megactor) -> None:
    changes = {"name": "paper-hdtf", "changed": {"size": 64}, "left_open": ["Clips: all."]}
    protocol = RESULT.protocol | changes
    core.result = replace(RESULT, protocol=protocol)
    out = megactor("evaluate").out
    assert "paper-hdtf, changed: size" in out
    assert "  Clips: all.\n" in out


def test_scripts_read_one_object(core: Remembered, megactor) -> None:
    result = megactor("evaluate", "--json")
    found = json.loads(result.out)
    assert found == json.loads(json.dumps(RESULT.to_json()))
    assert {"metrics", "missing", "pairs", "protocol", "preprocessing"} <= found.keys()
    assert found["metrics"]["psnr"]["value"] == 31.25


def test_no_measured_pair_is_exit_code_1(core: Remembered, megactor) -> None:
    failure = Failure("x", "MediaError", "No frame of 'x' can be decoded.")
    empty = replace(ONE, metrics={}, pairs={"measured": 0}, failures=(failure,))
    core.result = replace(RESULT, sets={"": empty})
    result = megactor("evaluate")
    assert result.exit_code == 1
    assert "Warning: x: No frame of 'x' can be decoded." in result.err
    assert "No pair was measured" in result.err


def test_two_results_are_compared(core: Remembered, megactor) -> None:
    result = megactor("evaluate", "--compare", "a", "b")
    assert core.asked == [(Path("a"), Path("b"), 0), None]
    lines = [line.split() for line in result.out.splitlines()]
    assert ["PSNR↑", "30", "31", "+1", "+0.5", "to", "+1.5", "B"] in lines
    assert "Warning: FID is not compared: x." in result.err
    assert lines[-1] == ["report", "page.html"]
    found = json.loads(megactor("evaluate", "--compare", "a", "b", "--output", "o", "--json").out)
    assert (found["rows"][0]["verdict"], found["report"]) == ("B", "page.html")
    assert core.asked[-1] == Path("o")


def test_nothing_given_is_one_message(megactor) -> None:
    result = megactor("evaluate")
    assert (result.exit_code, result.out) == (2, "")
    fix = "Give --generated DIR --real DIR, or --checkpoint DIR --data DIR."
    assert result.err == f"Error: There is nothing to compare. {fix}\n"
