"""The report of a curation: what it shows is what was decided, from the one file, whatever the clips are."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from megactor_core.config.curate import CurateConfig, RulesConfig
from megactor_core.curation import part, pictures
from megactor_core.curation.contact_sheets import MOST_KEPT, choose_clips
from megactor_core.curation.curate import curate
from megactor_core.curation.decide_again import decide_again
from megactor_core.curation.manifest import judge
from megactor_core.curation.pictures import Picture
from megactor_core.curation.report import report_page
from megactor_core.curation.rows import as_they_are
from megactor_core.curation.sources import Sources
from megactor_core.curation.summary import summarise
from megactor_core.engine.journal import Journal

ConfigFor = Callable[..., CurateConfig]
REFERENCE = re.compile(r"""\b(?:src|href)\s*=\s*["'](?!data:|#)|url\(|@import|https?://""", re.IGNORECASE)
BUDGET_BYTES = 3_000_000


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that this process decodes frames of."""
    opened: list[Path] = []
    for name in ("read_key_frames", "read_video"):
        real = getattr(part, name)

        def look(path: Path, *, real: Any = real, **options: Any) -> Any:
            opened.append(path)
            return real(path, **options)

        monkeypatch.setattr(part, name, look)
    return opened


def page_of(output: Path) -> str:
    return (output / "report.html").read_text(encoding="utf-8")


def summary_of(output: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((output / "summary.json").read_text())
    return summary


def section(page: str, title: str) -> str:
    """A section's HTML."""
    (found,) = re.findall(rf"<section[^>]*><h2>{re.escape(title)}</h2>(.*?)</section>", page, re.DOTALL)
    return str(found)


def cells(html: str) -> list[list[str]]:
    """The rows of the tables: the text of each cell, parts of it apart by a space."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    found = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[" ".join(unescape(re.sub(r"<[^>]*>", " ", cell)).split()) for cell in row] for row in found]


def page_from(output: Path, config: CurateConfig, rows: list[dict[str, Any]], why: str = "none") -> str:
    """The page of some rows of a journal, without pictures."""
    judged = judge(rows, config.rules)
    report = summarise(judged, config.updated(output=output), missing=[], job=None)
    sheets = choose_clips(judged)
    shown = {clip.row["row_id"]: Picture(None, why) for clip in sheets.clips()}
    return report_page(report, judged, config.rules, sheets=sheets, pictures=shown)


def rows_of(output: Path) -> list[dict[str, Any]]:
    return as_they_are(Journal(output / "journal").results(), Sources(()))


def test_the_page_stands_alone_and_has_every_part(curated: Path) -> None:
    page = page_of(curated)
    assert not REFERENCE.search(page)
    assert "<script" not in page
    assert str(curated) not in page
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "As in the paper&#x27;s Table 1",
        "What each rule leaves",
        "Measures and limits",
        "What if a limit were another",
        "Clips",
        "Not measured",
        "Audit of the first looks",
        "Errors",
        "Cost",
        "Settings",
    ]
    assert len(page.encode()) < BUDGET_BYTES


def test_table_1_quotes_the_paper_and_has_raw_and_kept_rows(curated: Path) -> None:
    rows = {
        (row[0], row[1]): row for row in cells(section(page_of(curated), "As in the paper&#x27;s Table 1"))
    }
    summary = summary_of(curated)
    quoted = [row for (_, which), row in rows.items() if which == "quoted: paper"]
    assert [row[0] for row in quoted] == ["VoxCeleb", "Talking-Head", "MultiTalk", "CCv2", "HDTF"]
    assert sum(float(row[3].split()[0]) for row in quoted) == 313
    assert rows["HDTF", "quoted: paper"][4:8] == ["600 x 700", "7.957", "7.330", "5.2"]
    for which in ("raw", "kept"):
        group = summary["datasets"]["synthetic"][which]
        row = rows["synthetic", which]
        assert row[2].split()[0] == str(group["clips"])
        measured = group["measured"]["face_width_mean"]
        size = f"{group['means']['face_width_mean']:.0f} x {group['means']['face_height_mean']:.0f}"
        assert row[4] == f"{size} {measured} of {group['clips']}"
        assert row[5] == f"- 0 of {group['clips']}"  # SyncNet's weights are not there


def test_the_funnel_ends_with_what_is_kept(curated: Path) -> None:
    rows = cells(section(page_of(curated), "What each rule leaves"))[1:]
    summary = summary_of(curated)
    left = [int(row[5]) for row in rows]
    assert (left[0], left[-1]) == (summary["clips"], summary["kept"])
    assert left == sorted(left, reverse=True)
    rules = {row[0]: row for row in rows}
    assert {name: int(row[3]) for name, row in rules.items() if row[3] not in ("", "0")} == summary["reasons"]
    first = {name: int(row[4]) for name, row in rules.items() if row[4] not in ("", "0")}
    assert first == summary["first_reasons"]
    for name, fared in summary["rules"].items():
        if name not in summary["idle_rules"]:
            assert rules[name][2] == str(fared["checked"])


def test_each_limit_is_drawn_over_what_it_limits(curated: Path, config_for: ConfigFor) -> None:
    charts = section(page_of(curated), "Measures and limits")
    summary, rules = summary_of(curated), config_for(output=curated).rules
    drawn = re.findall(
        r"<figcaption>(.*?): (\d+) of \d+ clips.*?</figcaption>(.*?)</figure>", charts, re.DOTALL
    )
    by_name = {name: (int(count), svg) for name, count, svg in drawn}
    for name, rule, limit in (
        ("mean rotation of the head, degrees", "head_turned", f"at most {rules.max_rotation_degrees:.4g}"),
        (
            "light_face_px, px",
            "light_face_too_small",
            f"at least {rules.guard * (rules.min_face_px or 0):.4g}",
        ),
        ("sound_peak_db, dB", "silent", f"at least {rules.min_sound_db:.4g}"),
    ):
        count, svg = by_name[name]
        assert count == summary["rules"][rule]["checked"]
        assert len(re.findall(r'<line class="limit"', svg)) == 1
        assert f">{limit}<" in svg
        assert ('class="past"' in svg) == (summary["rules"][rule]["broken"] > 0)
    assert f"{summary['rejected']} of {summary['clips']} clips were stopped by an early gate" in charts


def test_the_what_if_table_says_what_a_decision_by_that_limit_says(
    copied: Path, curated: Path, config_for: ConfigFor
) -> None:
    rows = cells(section(page_of(curated), "What if a limit were another"))
    columns, tried = rows[0], 0
    for row in rows[1:]:
        setting = row[0].split()[0]
        if setting not in ("max_shots", "max_rotation_degrees", "light_single_share"):
            continue
        for title, cell in zip(columns[2:], row[2:], strict=True):
            if cell == "-":
                continue
            limit = re.findall(r" at (\S+)", cell)[0]
            report = decide_again(config_for(output=copied, overrides=(f"rules.{setting}={limit}",)))
            assert cell.split()[0] == str(report.kept), (setting, title, cell)
            undecided = re.findall(r"(\d+) not decided: needs measuring", cell)
            assert [int(count) for count in undecided] == ([report.pending] if report.pending else []), cell
            tried += 1
    assert tried >= 10
    assert "not decided" in str(rows)


def test_clips_are_shown_with_frames_and_why(curated: Path) -> None:
    clips, summary = section(page_of(curated), "Clips"), summary_of(curated)
    assert f"Kept: {min(MOST_KEPT, summary['kept'])} of {summary['kept']}" in clips
    for reason, count in summary["first_reasons"].items():
        assert f"Rejected, {reason} first: {min(4, count)} of {count}" in clips
    figures = re.findall(r"<figure>(.*?)</figure>", clips, re.DOTALL)
    assert len(figures) >= summary["kept"] + sum(min(4, count) for count in summary["first_reasons"].values())
    assert all("data:image/jpeg;base64," in figure for figure in figures)


def test_near_misses_come_nearest_first_with_value_and_limit(curated: Path, config_for: ConfigFor) -> None:
    rules = config_for(output=curated).rules
    near = choose_clips(judge(rows_of(curated), rules)).near
    misses = [abs(clip.failures[0].value / clip.failures[0].limit - 1) for clip in near]  # type: ignore[operator]
    assert len(near) >= 1
    assert misses == sorted(misses)
    part_of_page = section(page_of(curated), "Clips").split("Near misses")[1].split("<h3>")[0]
    shown = [unescape(text) for text in re.findall(r"<div>(.*?) \(\d+ % past\)</div>", part_of_page)]
    assert shown == [failure.reason for clip in near for failure in clip.failures]


def test_the_same_results_give_the_same_bytes(
    corpus: Path, copied: Path, config_for: ConfigFor, looks: list[Path]
) -> None:
    config = config_for(corpus, output=copied)
    curate(config)
    first = (copied / "report.html").read_bytes()
    curate(config)
    assert (copied / "report.html").read_bytes() == first
    assert looks == []  # all pictures were there already


def test_deciding_again_writes_a_new_page_and_decodes_nothing(
    copied: Path, config_for: ConfigFor, looks: list[Path]
) -> None:
    report = decide_again(config_for(output=copied, overrides=("rules.min_face_px=1000",)))
    page = page_of(copied)
    assert report.kept == 0
    assert looks == []
    assert "No clip is kept." in page
    assert "data:image/jpeg" in page
    # Without what was kept there is text in the place of the pictures.
    shutil.rmtree(copied / "pictures")
    decide_again(config_for(output=copied))
    assert "data:image/jpeg" not in page_of(copied)
    assert "No frame of it was kept" in page_of(copied)
    assert looks == []


def test_a_source_that_is_gone_or_damaged_has_a_text_for_a_picture(
    corpus: Path, copied: Path, config_for: ConfigFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copied / "pictures")
    rows = rows_of(copied)
    kept = [row for row in rows if row["status"] == "ok"]
    moved = {kept[0]["row_id"]: copied / "nowhere.mp4", kept[1]["row_id"]: copied / "damaged.mp4"}
    (copied / "damaged.mp4").write_bytes(b"\0" * 1000)
    changed = [{**row, "source_path": str(moved.get(row["row_id"], row["source_path"]))} for row in rows]
    config = config_for(corpus, output=copied)
    judged = judge(changed, config.rules)
    clips = [clip for clip in judged if clip.keep]
    damaged = pictures.content_of(copied / "damaged.mp4").version
    for clip in clips:
        if clip.row["row_id"] == kept[1]["row_id"]:
            clip.row["content_version"] = damaged
    pictures.take_pictures(clips, config)
    found = pictures.kept_pictures(clips, copied)
    assert found[kept[0]["row_id"]].why.startswith("No picture: Cannot open")
    assert found[kept[1]["row_id"]].why.startswith("No picture: Cannot read")
    assert all(picture.jpeg for name, picture in found.items() if name not in moved)
    assert all(len(picture.jpeg or b"") <= pictures.MOST_BYTES for picture in found.values())


@pytest.mark.slow
def test_a_clip_that_kills_its_reader_has_no_picture_and_all_others_have(
    corpus: Path, curated: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    names = [Path(row["source_path"]).name for row in rows_of(curated) if row["status"] == "ok"]
    for name in names:
        shutil.copy(corpus / "clips" / name, raw)
    script = (
        "import os, signal\n"
        "from megactor_core.curation import pictures\n"
        "real = pictures._key_frames\n"
        "def look(part, **options):\n"
        f"    if part.path.name == '{names[1]}':\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return real(part, **options)\n"
        "pictures._key_frames = look\n"
        "if __name__ == '__main__':\n"
        "    from megactor_cli.app import main\n"
        "    main()\n"
    )
    (tmp_path / "broken.py").write_text(script)
    command = [
        *(sys.executable, str(tmp_path / "broken.py"), "curate", str(raw), "--output", str(tmp_path / "out")),
        *("--recipe", "tiny", "--workers", "1", "--json", "--quiet", "--set", "measure.gates=[probe]"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kept"] == len(names) >= 2
    kept = section(page_of(tmp_path / "out"), "Clips").split("Near misses")[0]
    assert kept.count("data:image/jpeg") == len(names) - 1
    (text,) = re.findall(r'<div class="nothing">(.*?)</div>', kept)
    assert text.startswith("No picture: ")


def test_pictures_that_cannot_be_read_back_are_taken_anew(
    corpus: Path, copied: Path, config_for: ConfigFor, looks: list[Path]
) -> None:
    (copied / "pictures" / "run.json").write_text("nonsense")
    curate(config_for(corpus, output=copied))
    assert looks
    assert "data:image/jpeg" in page_of(copied)


def test_nothing_kept_and_errors_only_are_pages_too(config_for: ConfigFor, tmp_path: Path) -> None:
    raw, output = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    (raw / "<b>text&amp;.mp4").write_text("no video")
    (raw / "empty.mp4").touch()
    report = curate(config_for(raw, output=output))
    page = page_of(output)
    assert report.errors == 2
    assert "MediaError: 2" in page
    assert "No clip is kept." in page
    assert "<b>text" not in page
    assert "&lt;b&gt;text&amp;amp;" in page


def test_names_are_escaped_and_many_clips_stay_below_the_budget(curated: Path, config_for: ConfigFor) -> None:
    hostile = "<script>alert('x')</script>\u202e\n" + "x" * 5000
    rows = []
    for copy in range(40):
        for row in rows_of(curated):
            name = f"{row['row_id']} {copy}"
            data_set = f"{hostile} {copy}"
            rows.append(row | {"row_id": name, "content": name, "dataset": data_set, "identity": name})
    page = page_from(curated, config_for(output=curated), rows, why=hostile)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "20 more data sets" in page
    assert len(page.encode()) < 1_500_000  # and 140 pictures of 9 kB, as text, below 1.7 MB
    assert (MOST_KEPT * 2 + 4 * 32) * pictures.MOST_BYTES * 4 / 3 < 1_900_000


def test_pending_clips_are_said_to_be_open(curated: Path, config_for: ConfigFor) -> None:
    config = config_for(output=curated, overrides=("rules.max_shots=2",))
    page = page_from(curated, config, rows_of(curated))
    opened = summary_of(curated)["first_reasons"]["several_shots"]
    assert f"{opened} clips are not decided" in page
    assert ["still to be measured", "", "", "", str(opened)] in [
        row[:5] for row in cells(section(page, "What each rule leaves"))
    ]


def test_false_rejects_of_an_audit_are_listed(curated: Path, config_for: ConfigFor) -> None:
    row = next(row for row in rows_of(curated) if row["status"] == "ok")
    measures = row["measures"] | {"light_face_px": 1.0}
    config = config_for(output=curated)
    page = page_from(curated, config, [row | {"audited": True, "measures": measures}])
    audit = section(page, "Audit of the first looks")
    assert "First looks reject 1 of 1 audited clips. Wrongly, 100.0 % of the good ones:" in audit
    assert ["light_face_too_small", "1"] in cells(audit)
    assert "No clip was audited" in section(page_of(curated), "Audit of the first looks")


def test_limits_of_rules_that_are_off_are_not_there(curated: Path, config_for: ConfigFor) -> None:
    off = config_for(output=curated).rules
    bare = RulesConfig.model_validate(
        {
            name: None if name.startswith(("min_", "max_")) and "av_" not in name else value
            for name, value in off.model_dump().items()
        }
        | {"light_single_share": None, "max_av_offset_frames": None}
    )
    config = config_for(output=curated).updated(rules=bare.model_dump())
    page = page_from(curated, config, rows_of(curated))
    assert "No rule has a number." in page
    assert "No rule that is on has a limit and measured clips." in page
