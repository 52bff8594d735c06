"""The page of a comparison: differences, marks where chance is left out, and nobody's file written over."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megactor_core.errors import OutputError
from megactor_core.evaluation.catalogue import BY_NAME
from megactor_core.evaluation.clip import write_arrays
from megactor_core.evaluation.compare import Comparison, compare
from megactor_core.evaluation.comparison_report import comparison_page, leaves_out_zero, write_comparison
from megactor_core.evaluation.meters import Block
from megactor_core.evaluation.result import EvaluateResult, MetricValue, SetResult, write_result
from megactor_core.evaluation.strips import StripKeeper

NAMES = ("<b>a</b>", "b", "c", "d")
SSIM = np.array([0.5, 0.6, 0.7, 0.8])


def write(folder: Path, **measures: np.ndarray) -> Path:
    """A result with these values a clip, and pictures."""
    metrics = {
        name: MetricValue(
            value=float(values.mean()),
            interval=None,
            count=len(NAMES),
            better=BY_NAME[name].better,
            unit="",
            preprocessing="p",
        )
        for name, values in measures.items()
    }
    rows: tuple[dict[str, Any], ...] = tuple(
        {
            **{"name": name, "mode": None, "status": "ok", "frames": 4},
            "measures": {measure: float(values[k]) for measure, values in measures.items()},
        }
        for k, name in enumerate(NAMES)
    )
    sets = {"": SetResult(metrics=metrics, missing={}, pairs={"measured": len(rows)})}
    facts: dict[str, Any] = {"inputs": {}, "protocol": {"name": "quick"}, "preprocessing": {}, "weights": {}}
    write_result(EvaluateResult(output=folder, quoted=None, sets=sets, rows=rows, **facts))
    for name in NAMES:
        keeper = StripKeeper()
        frames = np.full((4, 16, 16, 3), 90, np.uint8)
        keeper.add(Block(real=frames, generated=frames))
        write_arrays(folder, name, keeper.arrays())
    return folder


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """B is surely better by SSIM, but for its last clip; jitter surely differs; PSNR does by chance."""
    first = write(tmp_path / "a", ssim=SSIM, jitter=SSIM, psnr=SSIM)
    second = write(
        tmp_path / "b",
        ssim=SSIM + np.array([0.2, 0.1, 0.15, 0.1]),
        jitter=SSIM + np.array([0.1, 0.11, 0.12, 0.1]),
        psnr=SSIM + np.array([0.1, -0.1, 0.1, -0.1]),
    )
    return compare(first, second, seed=0)


def test_differences_beyond_chance_are_marked(comparison: Comparison) -> None:
    marked = {row.name: leaves_out_zero(row) for row in comparison.rows}
    assert marked == {"ssim": True, "jitter": True, "psnr": False}
    page = comparison_page(comparison)
    assert page.count("B is better") == 1
    assert page.count("they differ") == 1
    (ssim,) = (row for row in comparison.rows if row.name == "ssim")
    assert ssim.interval is not None
    assert f"{ssim.difference:+.5g}" in page
    assert "{:+.5g} to {:+.5g}".format(*ssim.interval) in page


def test_the_clips_that_changed_most_are_shown(comparison: Comparison) -> None:
    page = comparison_page(comparison)
    cards = [part.split("</h4>")[0] for part in page.split("<h4>")[1:]]
    assert len(cards) == 3
    assert "&lt;b&gt;a&lt;/b&gt;: SSIM 0.5 in A, 0.7 in B" in cards[0]
    assert " c: SSIM" in cards[1]
    assert page.count("<img") == 3 * 3
    assert "<b>" not in page
    assert "http" not in page


def test_a_result_without_pictures_is_compared_too(comparison: Comparison) -> None:
    for file in (Path(comparison.b) / "clips").iterdir():
        file.unlink()
    page = comparison_page(comparison)
    assert "<img" not in page
    assert page.count("No pictures") == 3


def test_the_page_goes_where_it_is_told_and_replaces_none_but_its_own(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_comparison(comparison, output=tmp_path / "out")
    assert path == tmp_path / "out" / "comparison.html"
    page = path.read_bytes()
    assert write_comparison(comparison, output=tmp_path / "out").read_bytes() == page
    path.write_text("my own notes")
    with pytest.raises(OutputError, match="no comparison of megactor"):
        write_comparison(comparison, output=tmp_path / "out")
    assert path.read_text() == "my own notes"
    monkeypatch.chdir(tmp_path)
    assert write_comparison(comparison, output=None) == Path("outputs/evaluation/a-b/comparison.html")
