"""The page of an evaluation: whole, closed, escaped, bounded, and the same for the same result."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.evaluation import report_clips
from megactor_core.evaluation.catalogue import BY_NAME, MEASURES
from megactor_core.evaluation.clip import arrays_path, write_arrays
from megactor_core.evaluation.controls import ControlResult, ControlValue
from megactor_core.evaluation.meters import Block
from megactor_core.evaluation.pairing import Failure
from megactor_core.evaluation.report import REPORT, report_page, write_report
from megactor_core.evaluation.report_clips import ends_of, rank, ranking_measure
from megactor_core.evaluation.result import EvaluateResult, MetricValue, SetResult
from megactor_core.evaluation.run import evaluate
from megactor_core.evaluation.strips import StripKeeper
from megactor_core.media import video

ConfigFor = Callable[..., EvaluateConfig]
VOID = {"meta", "img"}
MOST_BYTES = 5_000_000


class Read(HTMLParser):
    """A page as a browser takes it: its elements, and the text that shows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def read(page: str) -> Read:
    """The page, after looking for whatever reaches outside it or runs in it."""
    found = Read(page)
    assert not re.search(r"https?://|file:|@import|url\(", page)
    assert not {"script", "link", "iframe", "object", "base"} & found.tags.keys()
    for name, value in found.attributes:
        assert not name.startswith("on")
        if name in {"src", "href"}:
            assert value.startswith(("data:image/jpeg;base64,", "#"))
    return found


def value(name: str, number: float = 1.5, **facts: Any) -> MetricValue:
    plain = {"interval": (1.25, 1.75), "count": 3, "preprocessing": "p", "unit": ""}
    return MetricValue(value=number, better=BY_NAME[name].better, **{**plain, **facts})


def row(name: str, mode: str = "", **measures: float) -> dict[str, Any]:
    row_id = f"{mode}/{name}" if mode else name
    facts = {"row_id": row_id, "name": name, "mode": mode or None, "status": "ok"}
    return {**facts, "measures": measures, "skipped": {}, "longer": None}


def result_of(folder: Path, **changes: Any) -> EvaluateResult:
    """One clip that was measured, unless told otherwise."""
    one = SetResult(metrics={"psnr": value("psnr")}, missing={}, pairs={"paired": 1, "measured": 1})
    plain = EvaluateResult(
        output=folder,
        inputs={"generated": "g", "real": "r"},
        protocol={"name": "quick", "changed": {}, "left_open": [], "settings": {"fps": "25"}},
        preprocessing={"psnr": "RGB, 25 fps"},
        weights={},
        quoted=None,
        sets={"": one},
        rows=(row("a", psnr=30.0),),
        versions={"megactor": "1"},
    )
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def done(
    folders: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, config_for: ConfigFor
) -> EvaluateResult:
    """Two pairs that were really measured."""
    metrics = ["psnr", "ssim", "ms_ssim", "faces"]
    config = config_for(tmp_path_factory.mktemp("done") / "out", cache_features=False, metrics=metrics)
    return evaluate(config.updated(generated=folders.generated, real=folders.real))


# ---------------------------------------------------------------- the page of a real evaluation


def test_the_page_stands_alone_and_holds_every_number(done: EvaluateResult) -> None:
    page = read((done.output / REPORT).read_text(encoding="utf-8"))
    (one,) = done.sets.values()
    cells = {word.strip() for word in page.words}
    for name, found in one.metrics.items():
        measure = BY_NAME[name]
        assert f"{measure.title} {measure.arrow}".strip() in cells, name
        assert f"{found.value:.5g}" in cells
        assert found.interval is not None
        assert "{:.5g} to {:.5g}".format(*found.interval) in cells
        assert found.preprocessing in cells
    for metric, why in one.missing.items():
        assert {metric, why["reason"], why["fix"]} <= cells
    assert {"extra", "lonely"} <= cells
    assert f"megactor {done.versions['megactor']}" in page.text


def test_the_best_and_the_worst_clip_are_shown_beside_the_real_one(done: EvaluateResult) -> None:
    page = read((done.output / REPORT).read_text(encoding="utf-8"))
    names = sorted((r for r in done.rows), key=lambda r: -r["measures"]["ssim"])
    for place, clip in zip(("best 1", "worst 1"), names, strict=True):
        title = f" {clip['name']}: SSIM {clip['measures']['ssim']:.5g}"
        assert page.words[page.words.index(place) + 1] == title
    assert page.tags["img"] == 2 * 3  # the first frame, the real ones, the generated ones
    assert page.tags["article"] == 2
    for title in ("mouth opening, eye distances", "yaw, degrees", "landmark distance, eye distances"):
        assert page.words.count(title) == 2


def test_frames_are_kept_in_passing_and_the_page_is_the_same_again(
    folders: SimpleNamespace,
    tmp_path: Path,
    cache: Path,
    config_for: ConfigFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decodes: Counter[str] = Counter()

    def count(path: Path, **options: Any) -> Any:
        decodes[path.name] += 1
        return video.read_video(path, **options)

    monkeypatch.setattr("megactor_core.evaluation.reading.read_video", count)
    config = config_for(tmp_path / "out", generated=folders.generated, real=folders.real, metrics=["psnr"])
    result = evaluate(config)
    page = (result.output / REPORT).read_bytes()
    assert decodes == {"a.mp4": 2, "b.mov": 1, "b.mp4": 1}  # a.mp4 is the name of two files
    assert b"<img" in page
    decodes.clear()
    evaluate(config)
    assert decodes == {}
    assert (result.output / REPORT).read_bytes() == page
    elsewhere = evaluate(config.updated(output=tmp_path / "elsewhere", batch_size=5))
    assert (elsewhere.output / REPORT).read_bytes() == page


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("<script>alert(1)</script>\"'&", "<script>alert(1)</script>\"'&"),
        ("<script>\udcff\u202e\x07</script>", "<script>\\udcff\\u202e\\x07</script>"),
    ],
)
def test_no_name_reaches_the_markup(tmp_path: Path, hostile: str, shown: str) -> None:
    one = SetResult(
        metrics={"psnr": value("psnr")},
        missing={"fid": {"reason": hostile, "fix": hostile}},
        pairs={
            **{"paired": 2, "measured": 1, "only_generated": [hostile], "only_real": [hostile]},
            **{"shortened": {hostile: "real"}, "skipped": {"psnr": {hostile: 1}}},
        },
        failures=(Failure(hostile, hostile, hostile),),
        warnings=(hostile,),
    )
    result = result_of(
        tmp_path,
        sets={"": one},
        rows=(row(hostile, psnr=1.0) | {"row_id": "x"}, row("b", psnr=2.0)),
        inputs={"generated": hostile, "real": hostile},
        protocol={"name": hostile, "changed": {hostile: hostile}, "left_open": [hostile], "settings": {}},
    )
    strip_of(result, "x")
    page = read(write_report(result).read_text(encoding="utf-8"))
    assert page.text.count(shown) > 12
    assert ("alt", f"frames of the real clip {shown}") in page.attributes


def test_long_texts_and_lists_end(tmp_path: Path) -> None:
    names = [f"clip {number}" for number in range(1000)]
    failures = tuple(Failure(name, "MediaError", "x" * 100_000) for name in names)
    pairs = {"paired": 1000, "measured": 0, "only_real": names}
    one = SetResult(metrics={}, missing={}, pairs=pairs, failures=failures)
    page = report_page(result_of(tmp_path, sets={"": one}, rows=()))
    assert read(page).text.count("and 980 more") == 2
    assert len(page) < 100_000


# ---------------------------------------------------------------- what is not there


def test_nothing_measured_is_a_page_with_the_reasons(tmp_path: Path) -> None:
    failures = (Failure("a", "MediaError", "broken"), Failure("b", "TimeoutError", "too slow"))
    missing = {"psnr": {"reason": "No pair was measured.", "fix": "See the errors of the pairs."}}
    one = SetResult(
        metrics={}, missing=missing, pairs={"paired": 2, "measured": 0, "skipped": {}}, failures=failures
    )
    failed = tuple({**row(name), "status": "error", "measures": None} for name in "ab")
    page = read(report_page(result_of(tmp_path, sets={"": one}, rows=failed)))
    for text in (
        "No number could be taken",
        "MediaError: 1",
        "a: broken",
        "b: too slow",
        "No clip has a number",
    ):
        assert text in page.text
    assert page.tags["img"] == page.tags["article"] == 0


@pytest.mark.parametrize("damage", ["missing", "damaged", "of an earlier version"])
def test_a_clip_without_pictures_says_so(tmp_path: Path, damage: str) -> None:
    result = result_of(tmp_path)
    if damage == "damaged":
        arrays_path(tmp_path, "a").parent.mkdir()
        arrays_path(tmp_path, "a").write_bytes(b"rubbish")
    elif damage == "of an earlier version":
        write_arrays(tmp_path, "a", {"psnr": np.full(4, 30.0)})
    page = read(report_page(result))
    assert re.search("No pictures", page.text)
    assert page.tags["img"] == 0


# ---------------------------------------------------------------- size


def strip_of(result: EvaluateResult, row_id: str, *, frames: int = 5) -> None:
    """Arrays of a clip that is hard to compress and as long as told."""
    rng = np.random.default_rng([len(row_id)])
    keeper = StripKeeper()
    pictures = rng.integers(0, 256, (8, 128, 256, 3), dtype=np.uint8)
    keeper.add(Block(real=pictures, generated=pictures[::-1]))
    names = ("mouth_open_real", "mouth_open_generated", "eyes_open_real", "eyes_open_generated")
    tracks = {name: rng.normal(size=frames) for name in (*names, "face_distance", "mouth_distance", "ssim")}
    poses = {f"pose_{side}": rng.normal(size=(frames, 3)) for side in ("real", "generated")}
    others = {"sync_confidence": rng.normal(size=frames), "av_curve": rng.normal(size=31)}
    write_arrays(result.output, row_id, {**tracks, **poses, **others, **keeper.arrays()})


def test_the_size_is_bounded_for_any_number_of_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, clips = ("A", "V", "A+V"), 500
    names = [m.name for m in MEASURES if m.of == "clip" and m.name != "lpips"]
    rows = tuple(
        row(
            f"{'long' * 40}{k:05}",
            mode,
            **{name: float(np.sin(k + 1)) for name in names} | {"ssim": float(k)},
        )
        for mode in modes
        for k in range(clips)
    )
    one = SetResult(
        metrics={m.name: value(m.name) for m in MEASURES},
        missing={},
        pairs={
            **{"paired": clips, "measured": clips, "only_real": [r["name"] for r in rows]},
            **{"shortened": {r["name"]: "real" for r in rows}},
        },
    )
    result = result_of(tmp_path, sets=dict.fromkeys(modes, one), rows=rows, quoted="hdtf")
    opened: list[str] = []
    read_arrays = report_clips.read_arrays

    def open_one(folder: Path, row_id: str) -> dict[str, np.ndarray]:
        opened.append(row_id)
        strip_of(result, row_id, frames=20_000)
        return read_arrays(folder, row_id)

    monkeypatch.setattr(report_clips, "read_arrays", open_one)
    page = report_page(result)
    assert len(opened) == 6 * len(modes)
    assert {int(name[-5:]) for name in opened} == {0, 1, 2, clips - 3, clips - 2, clips - 1}
    assert 1_000_000 < len(page.encode()) < MOST_BYTES
    assert read(page).tags["img"] == 18 * 3


# ---------------------------------------------------------------- parts


def test_the_papers_rows_are_marked_as_quoted_and_ours_have_intervals(tmp_path: Path) -> None:
    fid = value("fid", 40.0, interval=(38.5, 41.5), samples=(36, 40), is_biased=True)
    one = SetResult(metrics={"fid": fid}, missing={}, pairs={"paired": 2, "measured": 2})
    page = read(report_page(result_of(tmp_path, sets={"A": one, "V": one}, quoted="hdtf", rows=())))
    assert page.words.count("quoted: paper") == 9 + 3
    assert page.words.count("measured") == 2 + 2
    assert page.words.count("38.5 to 41.5") == page.words.count("n = 3") == 2 + 2 + 2
    assert "36 against 40 samples" in page.text
    assert "biased" in page.text
    assert "31.497" in page.text


def test_modes_that_say_the_same_say_it_once(tmp_path: Path) -> None:
    missing = {"fid": {"reason": "no weights", "fix": "Run `megactor weights pull fid`."}}
    one = SetResult(metrics={}, missing=missing, pairs={}, warnings=("careful",))
    page = read(report_page(result_of(tmp_path, sets={"A": one, "V": one}, rows=())))
    assert page.text.count("Run `megactor weights pull fid`.") == 1
    assert "A, V: careful" in page.text


def test_controls_are_drawn(tmp_path: Path) -> None:
    curves = {
        "audio_scale": {"strengths": [0.0, 1.0, 2.0], "mouth_amplitude": [0.01, None, 0.05]},
        "alpha": {"strengths": [0.5, 1.0], "roll": [None, None], "shift": [0.5, 1.0]},
    }
    talk = {"cross_talk_eyes_change": 8.0, "cross_talk_mouth_change": 1.0}
    clips = (
        {"name": "a", "measures": talk, "skipped": {}, "curves": curves},
        {"name": "b", "measures": {}, "skipped": {"alpha": "No <face>."}, "curves": {}},
    )
    control = ControlResult(
        (0.0, 1.0, 2.0), (0.5, 1.0), {"audio_scale_ratio": ControlValue(5, None, 1)}, clips
    )
    page = read(report_page(result_of(tmp_path, control=control)))
    for text in (
        "audio scale ratio",
        "mouth amplitude over audio scale",
        "head shift over alpha",
        "cross-talk",
    ):
        assert text in page.text
    assert "b: alpha: No <face>." in page.text


@pytest.mark.parametrize(("name", "order"), [("ssim", "cab"), ("lpips", "bac")])
def test_clips_are_ranked_the_way_that_is_better(name: str, order: str) -> None:
    rows = [row("a", **{name: 0.5}), row("b", **{name: 0.25}), row("c", **{name: 0.75}), row("d")]
    measure = ranking_measure(rows)
    assert measure is BY_NAME[name]
    assert "".join(r["name"] for r in rank(rows, measure)) == order


@pytest.mark.parametrize(
    ("clips", "best", "worst"), [(0, 0, 0), (1, 1, 0), (2, 1, 1), (5, 3, 2), (6, 3, 3), (9, 3, 3)]
)
def test_no_clip_is_both_best_and_worst(clips: int, best: int, worst: int) -> None:
    ranked = [row(str(number)) for number in range(clips)]
    first, last = ends_of(ranked)
    assert (len(first), len(last)) == (best, worst)
    assert first + last == ranked[:best] + ranked[clips - worst :]
