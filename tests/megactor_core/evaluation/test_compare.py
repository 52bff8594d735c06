"""Two results side by side: differences clip by clip, verdicts, and numbers that do not compare."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megactor_core.errors import UsageError
from megactor_core.evaluation.catalogue import BY_NAME
from megactor_core.evaluation.compare import Comparison, compare
from megactor_core.evaluation.paper_tables import TABLE_2, TABLE_3, paper_tables
from megactor_core.evaluation.result import EvaluateResult, MetricValue, SetResult, write_result

HARDNESS = np.random.default_rng([4]).normal(30, 4, 12)
"""What makes clips differ, whoever made them."""


def metric(name: str, value: float, **facts: Any) -> MetricValue:
    plain = {"interval": (value - 1, value + 1), "count": 12, "preprocessing": "p", "unit": ""}
    return MetricValue(value=value, better=BY_NAME[name].better, **{**plain, **facts})


def result_of(folder: Path, *, mode: str = "", clips: range = range(12), **measures: Any) -> EvaluateResult:
    """A result whose clips have the given values a clip; FID is given as a MetricValue."""
    found = {
        name: values if isinstance(values, MetricValue) else metric(name, float(np.mean(values)))
        for name, values in measures.items()
    }
    rows = tuple(
        {
            "name": f"clip-{k}",
            "mode": mode or None,
            "status": "ok",
            "frames": 10,
            "measures": {n: float(v[k]) for n, v in measures.items() if not isinstance(v, MetricValue)},
        }
        for k in clips
    )
    one = SetResult(metrics=found, missing={}, pairs={"measured": len(rows)})
    result = EvaluateResult(
        output=folder,
        inputs={},
        protocol={"name": "quick"},
        preprocessing={},
        weights={},
        quoted=None,
        sets={mode: one},
        rows=rows,
    )
    write_result(result)
    return result


def rows_of(comparison: Comparison) -> dict[str, Any]:
    return {row.name: row for row in comparison.rows}


def test_a_small_steady_difference_is_seen_through_large_spread(tmp_path: Path) -> None:
    result_of(tmp_path / "a", psnr=HARDNESS, face_distance=HARDNESS, jitter=HARDNESS)
    result_of(tmp_path / "b", psnr=HARDNESS + 0.1, face_distance=HARDNESS + 0.1, jitter=HARDNESS + 0.1)
    rows = rows_of(compare(tmp_path / "a", tmp_path / "b", seed=0))
    for row in rows.values():
        assert row.difference == pytest.approx(0.1)
        assert row.interval == pytest.approx((0.1, 0.1))
        assert row.count == 12
    verdicts = {name: row.verdict for name, row in rows.items()}
    assert verdicts == {"psnr": "B", "face_distance": "A", "jitter": "-"}


def test_noise_is_no_difference(tmp_path: Path) -> None:
    result_of(tmp_path / "a", psnr=HARDNESS)
    result_of(tmp_path / "b", psnr=HARDNESS + np.random.default_rng([9]).normal(0, 1, 12))
    row = rows_of(compare(tmp_path / "a", tmp_path / "b", seed=0))["psnr"]
    assert row.interval[0] < 0 < row.interval[1]
    assert row.verdict == "-"


def test_only_clips_of_both_count(tmp_path: Path) -> None:
    result_of(tmp_path / "a", psnr=HARDNESS, clips=range(8))
    result_of(tmp_path / "b", psnr=HARDNESS + 2, clips=range(4, 12))
    comparison = compare(tmp_path / "a", tmp_path / "b", seed=0)
    row = rows_of(comparison)["psnr"]
    assert row.count == 4
    assert row.a == pytest.approx(HARDNESS[4:8].mean())
    assert row.difference == pytest.approx(2)
    assert any("means are of the 4 that both have" in warning for warning in comparison.warnings)


def test_errors_of_distances_add_as_squares(tmp_path: Path) -> None:
    fid = metric("fid", 30.0, interval=(27.0, 33.0), samples=(100, 100))
    result_of(tmp_path / "a", fid=fid)
    result_of(tmp_path / "b", fid=replace(fid, value=20.0, interval=(16.0, 24.0), samples=(90, 100)))
    comparison = compare(tmp_path / "a", tmp_path / "b", seed=0)
    row = rows_of(comparison)["fid"]
    assert row.difference == -10
    assert row.interval == pytest.approx((-15, -5))
    assert row.verdict == "B"
    assert any("100 samples in A and 90 in B" in warning for warning in comparison.warnings)


@pytest.mark.parametrize("facts", [{"preprocessing": "clean"}, {"weights": ("ab",)}])
def test_numbers_of_other_kinds_are_not_compared(tmp_path: Path, facts: dict[str, Any]) -> None:
    result_of(tmp_path / "a", fid=metric("fid", 30.0, samples=(9, 9)), psnr=HARDNESS)
    result_of(tmp_path / "b", fid=metric("fid", 20.0, samples=(9, 9), **facts), psnr=HARDNESS)
    comparison = compare(tmp_path / "a", tmp_path / "b", seed=0)
    assert rows_of(comparison).keys() == {"psnr"}
    assert any(warning.startswith("FID is not compared: its ") for warning in comparison.warnings)


def test_modes_are_compared_with_themselves(tmp_path: Path) -> None:
    result_of(tmp_path / "a", mode="A+V", psnr=HARDNESS)
    result_of(tmp_path / "b", mode="A+V", psnr=HARDNESS + 1)
    (row,) = compare(tmp_path / "a", tmp_path / "b", seed=0).rows
    assert (row.mode, row.title, row.verdict) == ("A+V", "A+V: PSNR↑", "B")
    result_of(tmp_path / "c", psnr=HARDNESS)
    with pytest.raises(UsageError, match="have no comparable number"):
        compare(tmp_path / "a", tmp_path / "c", seed=0)


def test_what_is_no_result_is_one_message(tmp_path: Path) -> None:
    result_of(tmp_path / "a", psnr=HARDNESS)
    with pytest.raises(UsageError, match="holds no result of an evaluation"):
        compare(tmp_path / "a", tmp_path / "nowhere", seed=0)
    for text in ("{", "[]", "{}"):
        (tmp_path / "metrics.json").write_text(text)
        with pytest.raises(UsageError, match="is no result of `megactor evaluate`"):
            compare(tmp_path, tmp_path / "a", seed=0)
    (tmp_path / "a" / "clips.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="cannot be read"):
        compare(tmp_path / "a", tmp_path / "a", seed=0)


# ---------------------------------------------------------------- the paper's tables


def test_the_papers_rows_are_quoted_beside_ours(tmp_path: Path) -> None:
    ours = result_of(tmp_path, fid=metric("fid", 12.3456, samples=(9, 9)), lpips=HARDNESS / 100)
    (table,) = paper_tables(replace(ours, quoted="ccv2"))
    assert table.columns[-5:] == ("FID↓", "FVD↓", "LPIPS↓", "Sync-C↑", "Sync-D↓")
    assert [row[0] for row in table.rows] == ["quoted: paper"] * 9 + ["measured"]
    assert table.rows[0][-5:] == ("37.437", "990.78", "0.2476", "3.6917", "10.557")
    assert table.rows[8][1:] == (
        *("MegActor-Σ", "DiT", "1.4B", "No", "A+V"),
        *("35.118", "345.66", "0.1030", "6.5407", "8.6185"),
    )
    assert table.rows[9][-5:] == ("12.346", "-", f"{HARDNESS.mean() / 100:.4f}", "-", "-")
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_modes_make_table_3(tmp_path: Path) -> None:
    ours = result_of(tmp_path, mode="V", psnr=HARDNESS)
    _, table = paper_tables(replace(ours, quoted="hdtf"))
    assert [row[:2] for row in table.rows] == [
        *(("quoted: paper", modal) for modal in ("A", "V", "A+V")),
        ("measured", "V"),
    ]
    assert table.rows[1][2:] == ("32.838", "313.33", "0.0881", "6.4513", "8.4818")
    _, ccv2 = paper_tables(replace(ours, quoted="ccv2"))
    assert [row[0] for row in ccv2.rows] == ["measured"]  # Table 3 is of HDTF alone


def test_without_the_papers_metrics_there_is_no_such_table(tmp_path: Path) -> None:
    assert paper_tables(result_of(tmp_path, psnr=HARDNESS)) == []


def test_the_papers_own_tables_agree() -> None:
    assert TABLE_3["A+V"] == TABLE_2[-1].hdtf
