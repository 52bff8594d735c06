"""A folder full of trouble: what can be used becomes samples, the rest rows with reasons, nothing breaks."""

from types import SimpleNamespace

import pytest

from megactor_core.data.sample import Sample


def test_good_clips_become_samples(wild_run: SimpleNamespace) -> None:
    ok = {uri for uri, row in wild_run.rows.items() if row.status == "ok"}
    assert ok == {
        "anna/talk.mp4",
        "anna/deep/SLOW.MP4",
        "soundless.mp4",
        "silent.mp4",
        "two.mp4",
        "truncated.mp4",
        "folder.mp4/inner.mp4",
        "caf\\xe9.mp4",
        "link.mp4",
    }


@pytest.mark.parametrize(
    ("uri", "status", "reason"),
    [
        ("faceless.mp4", "rejected", "no face"),
        ("short.mp4", "rejected", "shorter than 16 frames"),
        ("empty.mp4", "error", "is empty (0 bytes)"),
        ("text.mp4", "error", "it looks like text"),
        ("noindex.mp4", "error", "encode or download it again"),
        ("broken.mp4", "error", "Cannot open"),
        ("pipe.mp4", "error", "is a device or pipe"),
        ("cut.mp4", "rejected", "cut off: "),
    ],
)
def test_the_rest_are_rows_with_reasons(
    wild_run: SimpleNamespace, uri: str, status: str, reason: str
) -> None:
    row = wild_run.rows[uri]
    assert (row.status, row.path) == (status, None)
    assert reason in row.reason
    assert (row.error_kind == "MediaError") == (status == "error")


def test_nothing_else_is_taken_for_a_clip(wild_run: SimpleNamespace) -> None:
    assert len(wild_run.rows) == 17


def test_sources_are_not_touched(wild_run: SimpleNamespace) -> None:
    assert wild_run.sources_untouched


def test_identities_come_from_folders_or_names(wild_run: SimpleNamespace) -> None:
    identities = {uri: row.identity for uri, row in wild_run.rows.items()}
    assert identities["anna/talk.mp4"] == identities["anna/deep/SLOW.MP4"] == "anna"
    assert identities["two.mp4"] == "two"
    assert identities["caf\\xe9.mp4"] == "caf\\xe9"


@pytest.mark.parametrize(
    ("uri", "sound"), [("soundless.mp4", "none"), ("silent.mp4", "silent"), ("anna/talk.mp4", "heard")]
)
def test_a_clip_without_sound_is_a_sample_for_visual_modes(
    wild_run: SimpleNamespace, uri: str, sound: str
) -> None:
    row = wild_run.rows[uri]
    sample = Sample.open(wild_run.config.output / row.path)
    assert sample.facts.sound == sound
    assert row.has_audio == sample.facts.has_audio == (sound == "heard")
    for name in ("sound.flac", "audio.safetensors"):
        assert (sample.folder / name).exists() == row.has_audio
    assert (row.audio_features == "log-mel") == row.has_audio


def test_twelve_frames_a_second_become_twenty_five(wild_run: SimpleNamespace) -> None:
    row = wild_run.rows["anna/deep/SLOW.MP4"]
    assert (row.source_fps, row.video_fps) == (12.0, 25.0)
    assert row.frames == 24 * 25 // 12


def test_a_truncated_clip_is_a_shorter_sample(wild_run: SimpleNamespace) -> None:
    row = wild_run.rows["truncated.mp4"]
    assert 16 <= row.frames < 60


def test_of_two_faces_one_is_followed(wild_run: SimpleNamespace) -> None:
    assert wild_run.rows["two.mp4"].faces_max == 2
    assert wild_run.rows["two.mp4"].lost_frames == 0


def test_the_summary_counts_it_all(wild_run: SimpleNamespace) -> None:
    report = wild_run.report
    assert (report.clips, report.ok, report.rejected, report.errors) == (17, 9, 3, 5)
    assert report.reasons == {"cut off": 1, "no face": 1, "shorter than 16 frames": 1}
    assert report.error_kinds == {"MediaError": 5}
    assert report.computed == 17
    unused = {group.reason: group.examples for group in report.unused}
    assert unused["It is empty (0 bytes). Copy or download it again."] == ["empty.mp4"]
    assert not any("/" in reason for reason in unused)
    assert sum(group.clips for group in report.unused) == 8
    assert (wild_run.config.output / "summary.json").is_file()
    assert sum(report.samples_by_split.values()) == 9
    assert report.bytes == sum(row.bytes or 0 for row in wild_run.rows.values())


def test_nothing_half_done_is_left(wild_run: SimpleNamespace) -> None:
    names = {path.name for path in (wild_run.config.output / "samples").iterdir()}
    assert names == {row.sample_id for row in wild_run.rows.values() if row.status == "ok"}
