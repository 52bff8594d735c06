"""Frames that carry a visible badge are left out on both sides, by what the clips say of themselves."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.config.media import MediaLimits
from megactor_core.errors import MediaError
from megactor_core.evaluation.badges import unbadged_from
from megactor_core.evaluation.pairing import Pair
from megactor_core.evaluation.run import evaluate
from megactor_core.files import sha256_of
from megactor_core.media.video_writer import VideoWriter
from megactor_core.provenance.keys import local_key
from megactor_core.provenance.manifest import Manifest
from megactor_core.provenance.sign import sign_video

LIMITS = MediaLimits()
BADGED, FRAMES = 6, 18
ConfigFor = Callable[..., EvaluateConfig]


def facts(frames: int) -> dict[str, object]:
    badge = {"placement": "start", "text": "AI GENERATED", "frames": frames, "until_seconds": frames / 25}
    return {"tool": "megactor 0.1.0", "badge": badge}


def write(path: Path, frames: list[np.ndarray], *, badged: int, said: bool = True) -> Path:
    """A clip whose first frames are black in a corner, and say so in the tags."""
    tags = {"comment": json.dumps(facts(badged))} if said else {}
    height, width, _ = frames[0].shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(
        path, video_fps=Fraction(25), width=width, height=height, quality="lossless", tags=tags
    ) as writer:
        for number, frame in enumerate(frames):
            marked = frame.copy()
            if number < badged:
                marked[:20, -60:] = 0
            writer.write(marked)
    return path


def start_of(generated: Path, real: Path) -> float:
    return unbadged_from(Pair(name="x", generated=generated, real=real), limits=LIMITS)


@pytest.fixture
def clips(man: list[np.ndarray], tmp_path: Path) -> dict[str, Path]:
    frames = man[:FRAMES]
    return {
        "badged": write(tmp_path / "badged.mp4", frames, badged=BADGED),
        "plain": write(tmp_path / "plain.mp4", frames, badged=0, said=False),
        "off": write(tmp_path / "off.mp4", frames, badged=0),
        "silent": write(tmp_path / "silent.mp4", frames, badged=BADGED, said=False),
        "always": write(tmp_path / "always.mp4", frames, badged=FRAMES),
    }


def test_where_the_badge_of_either_ends(clips: dict[str, Path]) -> None:
    assert start_of(clips["badged"], clips["plain"]) == start_of(clips["plain"], clips["badged"]) == 0.24
    assert start_of(clips["off"], clips["plain"]) == start_of(clips["silent"], clips["plain"]) == 0


def test_the_manifest_is_asked_where_there_are_no_tags(clips: dict[str, Path], tmp_path: Path) -> None:
    signed = tmp_path / "signed.mp4"
    manifest = Manifest(title="x", facts=facts(BADGED), ingredients=())
    sign_video(clips["silent"], signed, manifest=manifest, key=local_key())
    assert start_of(signed, clips["plain"]) == 0.24


def test_a_clip_that_is_badged_to_its_end_cannot_be_measured(clips: dict[str, Path]) -> None:
    with pytest.raises(MediaError, match=r"all of it, 0\.72 s, carries a visible badge") as caught:
        start_of(clips["always"], clips["plain"])
    assert "--badge off" in caught.value.fix


@pytest.mark.parametrize("badge", [None, "yes", 3, {}, {"until_seconds": "3"}, {"until_seconds": None}])
def test_what_is_no_badge_counts_for_none(tmp_path: Path, man: list[np.ndarray], badge: object) -> None:
    path = tmp_path / "x.mp4"
    tags = {"comment": json.dumps({"tool": "megactor", "badge": badge})}
    with VideoWriter(path, video_fps=Fraction(25), width=144, height=144, tags=tags) as writer:
        writer.write(man[0])
    assert start_of(path, path) == 0


def test_an_evaluation_leaves_them_out_and_warns(
    man: list[np.ndarray], tmp_path: Path, config_for: ConfigFor, cache: Path
) -> None:
    """The clips are equal but for the badge: without its frames nothing differs."""
    write(tmp_path / "real" / "a.mp4", man[:FRAMES], badged=0, said=False)
    write(tmp_path / "real" / "b.mp4", man[:FRAMES], badged=0, said=False)
    write(tmp_path / "made" / "a.mp4", man[:FRAMES], badged=BADGED)
    write(tmp_path / "made" / "b.mp4", man[:FRAMES], badged=FRAMES)
    sources = {path: sha256_of(path) for path in tmp_path.rglob("*.mp4")}
    given = {"generated": tmp_path / "made", "real": tmp_path / "real", "metrics": ["psnr", "faces"]}
    config = config_for(tmp_path / "out", **given)
    result = evaluate(config)
    (one,) = result.sets.values()
    assert one.metrics["psnr"].value == 100
    assert one.metrics["face_distance"].value == 0
    assert one.pairs["frames"] == FRAMES - BADGED
    assert [(failure.name, "--badge off" in failure.error) for failure in one.failures] == [("b", True)]
    assert any("1 pairs carry a visible badge at their start" in said for said in one.warnings)
    assert {path: sha256_of(path) for path in sources} == sources
