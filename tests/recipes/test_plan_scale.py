"""The plan of docs/scale.md: its arithmetic, and that the document shows what the script prints."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.rows import LOOKS_AT_ONCE
from megactor_core.engine.pace import Pace, Supply
from megactor_core.engine.stage import Outcome

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script(load_module: Callable[..., ModuleType]) -> ModuleType:
    """recipes/scripts/plan_scale.py as a module."""
    return load_module(ROOT / "recipes/scripts/plan_scale.py", name="plan_scale")


def plan(script: ModuleType, cluster: str = "100:10:0", **inputs: Any) -> Any:
    return script.Plan(script.Cluster.parse(cluster), script.Inputs(**inputs))


def test_the_document_shows_what_the_script_prints(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    script.main([])
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    for part in capsys.readouterr().out.split("\n\n"):
        assert part.strip() in page


def test_settings_are_the_defaults_of_the_configuration(script: ModuleType) -> None:
    inputs, config = script.Inputs(), CurateConfig()
    assert inputs.batch_seconds == config.batch_seconds
    assert inputs.batch_rows == config.ray_batch_rows
    assert inputs.wave_rows == config.ray_wave_rows
    assert inputs.faces_a_second == 1 / config.measure.face_seconds
    assert inputs.looks_at_once == LOOKS_AT_ONCE


def test_hours_go_through_the_gates(script: ModuleType) -> None:
    """100 h, of which each gate that rejects leaves half; a core-second an hour of video at `shots`."""
    halves = dict.fromkeys([name for name in script.Inputs.__dataclass_fields__ if "pass_" in name], 0.5)
    free = dict.fromkeys([name for name in script.Inputs.__dataclass_fields__ if "cost_" in name], 0.0)
    found = plan(script, **(halves | free | {"cost_shots": 3600.0, "syncnet_gflop": 0.0}))
    assert [gate.hours_in for gate in found.gates] == [100, 50, 25, 12.5, 6.25, 3.125, 3.125, 3.125, 1.5625]
    assert found.kept_hours == 100 / 2**7
    assert found.core_hours == 12.5, "an hour of video at `shots` takes a core-hour"
    assert found.clips == 100 * 3600 / 8
    assert found.row_core_seconds == pytest.approx(1.0)
    assert found.work_hours == 1.25


def test_networks_are_counted_on_what_there_is(script: ModuleType) -> None:
    on_gpus, on_cores = plan(script, "100:10:2"), plan(script, "100:10:0")
    assert on_cores.gpu_hours == 0
    ratio = 1000 * script.Inputs().gpu_tflops / script.Inputs().core_gflops
    extra = on_cores.core_hours - on_gpus.core_hours
    assert extra == pytest.approx(on_gpus.gpu_hours * ratio)
    dwpose = plan(script, face_detector="dwpose")
    faces = next(gate for gate in dwpose.gates if gate.name == "faces")
    assert faces.core_hours == pytest.approx(faces.hours_in * 2 * 176 / 60)


def test_the_slower_of_cores_and_gpus_is_waited_for(script: ModuleType) -> None:
    found = plan(script, "100:1000000:1")
    assert found.work_hours == found.gpu_hours
    assert plan(script, "100:1:1000").work_hours == pytest.approx(plan(script, "100:1:1000").core_hours)


def test_runs_side_by_side_share_what_each_driver_does_alone(script: ModuleType) -> None:
    one, four = plan(script, "1000:64:1"), plan(script, "1000:64:1:4")
    assert four.supply_hours == one.supply_hours / 4
    assert four.merge_hours == one.merge_hours / 4
    assert four.work_hours == one.work_hours


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 64])
@pytest.mark.parametrize("pace_rows", [1, 3, 1000])
def test_part_files_are_those_of_the_engine(rows: int, pace_rows: int, script: ModuleType) -> None:
    pace = Pace(1.0)
    pace.measure(rows=pace_rows, seconds=1.0)
    assert pace.rows == pace_rows
    given = [Outcome(row={"row_id": str(n)}, key=str(n), status="ok") for n in range(rows)]
    supply, files = Supply(iter(given), alone=()), 0
    while supply.take(pace, workers=1):
        files += 1
    assert script.part_files(rows, pace=pace_rows) == files


def test_prices_are_the_users(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    script.main(["--plan", "100:10:0"])
    assert "| cost | your prices | " in capsys.readouterr().out
    prices = [
        "price_core_hour=0",
        "price_gpu_hour=0",
        "price_tb_month=10",
        "source_mbps=20",
        "sample_bytes=0",
    ]
    script.main(["--plan", "100:10:0", *(word for price in prices for word in ("--set", price))])
    assert "| cost | 9 | " in capsys.readouterr().out, "100 h of 20 Mbit/s are 0.9 TB"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "cost=1"], "there is no input 'cost'"),
        (["--set", "clip_seconds=long"], "could not convert"),
        (["--plan", "100"], "'100' is not of the form HOURS:CORES:GPUS"),
    ],
)
def test_what_is_wrong_is_said(
    words: list[str], message: str, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        script.main(words)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0626, "0.0626"), (1.2345, "1.23"), (4670, "4,670"), (2101500, "2,100,000"), (0.9996, "1")],
)
def test_numbers_have_three_figures(value: float, text: str, script: ModuleType) -> None:
    assert script._number(value) == text
