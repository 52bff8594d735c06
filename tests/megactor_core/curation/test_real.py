"""Real clips: what is said of them is true."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megactor_core.config.curate import CurateConfig
from megactor_core.config.recipes import load_config
from megactor_core.curation.curate import curate
from megactor_core.curation.decide_again import decide_again

pytestmark = [pytest.mark.real, pytest.mark.slow]

HAMILTON = "facerec_short_hamilton_clip"
JUMP_CUTS = {HAMILTON, "megactor_audio_ENTF_1"}
"""The latter's speaker jumps by a hand's breadth at 1.8 s: a piece was cut out."""


def paper(output: Path, *sources: Path, overrides: tuple[str, ...] = ()) -> CurateConfig:
    return load_config(
        CurateConfig,
        command="curate",
        recipe="paper",
        overrides=("measure.missing_landmarks=mediapipe", *overrides),
        options={"sources": sources, "output": output, "workers": 0, "audit": 1.0},
    )


@pytest.fixture(scope="module")
def curated(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("real")
    report = curate(paper(output, real_data / "driving"))
    assert report.errors == 0
    assert {gate for item in report.not_measured for gate in item["gates"]} == {"sync_screen", "sync"}
    return output


def test_under_the_papers_rules_every_clip_fails_with_its_measured_size(
    curated: Path, manifest: Callable[[Path], dict[str, dict[str, Any]]]
) -> None:
    for row in manifest(curated).values():
        (reason,) = [text for text in row["reasons"] if text.startswith("face_too_small")]
        size = f"{row['face_width_mean']:.0f}x{row['face_height_mean']:.0f}"
        assert reason == f"face_too_small: {size} < 600x600"
        assert row["face_method"] == "mediapipe"


def test_a_clip_of_several_shots_and_people_says_all_that_is_wrong(
    curated: Path, manifest: Callable[[Path], dict[str, dict[str, Any]]]
) -> None:
    row = manifest(curated)[HAMILTON]
    rules = {reason.partition(":")[0] for reason in row["reasons"]}
    assert {"several_shots", "several_faces", "face_too_small"} <= rules
    assert 20 < row["yaw_mean"] < 40
    assert row["cut_seconds"] is not None


def test_with_a_limit_of_180_pixels_the_single_shots_pass_the_face_rule(
    curated: Path, manifest: Callable[[Path], dict[str, dict[str, Any]]]
) -> None:
    decide_again(paper(curated, overrides=("rules.min_face_px=180",)))
    for name, row in manifest(curated).items():
        rules = {reason.partition(":")[0] for reason in row["reasons"]}
        assert ("face_too_small" in rules) == (name == HAMILTON)
        assert ("several_shots" in rules) == (name in JUMP_CUTS)
