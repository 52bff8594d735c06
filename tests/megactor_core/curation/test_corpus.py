"""A hundred synthetic clips, six in ten of them wrong in a known way: every rule finds what it is for.

Truth comes from the corpus: its faults, and for sizes, angles and offsets the numbers behind its pictures.
Clips whose truth lies within a quarter of a limit are left out for that rule: the corpus's faults lie further
past it. A rule is scored on the clips on which its truth is known; `audit` is 1, so everything is measured.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megactor_core.config.curate import CurateConfig, RulesConfig
from megactor_core.config.synth import SynthConfig
from megactor_core.curation.curate import curate
from megactor_core.curation.rules import RULES
from megactor_core.synthetic.corpus import make_corpus
from megactor_core.synthetic.truth import Truth, read_truth

pytestmark = pytest.mark.slow

CLIPS, SIZE_PX, SECONDS = 100, 128, 2.0
LEAST, MARGIN = 0.97, 0.25
TRUE_ROTATION_LIMIT = 30.0
"""Degrees that heads of the corpus turn where the recipe's limit lies: they are flatter than people's."""

RUINED = ("low_quality",)
"""At 128 pixels a face is left with 9 to 18 blocks of the coder: there is nothing to find."""

Known = Callable[[Truth, RulesConfig], bool | None]
ConfigFor = Callable[..., CurateConfig]


def fault(kind: str, *, unknown: tuple[str, ...] = ()) -> Known:
    """Whether a clip has a fault; of clips with an `unknown` one the rule's truth is not known."""

    def known(truth: Truth, _rules: RulesConfig) -> bool | None:
        return None if truth.facts["fault"] in unknown else truth.facts["fault"] == kind

    return known


def past(value: float, limit: float, *, below: bool) -> bool | None:
    """Whether a true value is past a limit; None where it is too near to tell."""
    if abs(value - limit) < MARGIN * abs(limit):
        return None
    return value < limit if below else value > limit


def face_px(truth: Truth) -> float | None:
    """The shorter side of the larger face's box, mean over the frames."""
    people = [points for points in (truth.points, truth.second_points) if points is not None]
    sides = [np.ptp(points, axis=1).mean(axis=0).min() for points in people if np.isfinite(points).all()]
    return float(max(sides)) if sides else None


def small(factor: Callable[[RulesConfig], float]) -> Known:
    def known(truth: Truth, rules: RulesConfig) -> bool | None:
        side = face_px(truth)
        return None if side is None else past(side, factor(rules) * (rules.min_face_px or 0), below=True)

    return known


def turned(truth: Truth, _rules: RulesConfig) -> bool | None:
    if truth.facts["fault"] in ("no_face", "two_faces", *RUINED):  # or it is another one's turn that counts
        return None
    yaw = np.abs(truth.performance.track("yaw_degrees")).mean()
    return past(float(yaw), TRUE_ROTATION_LIMIT, below=False)


def off(truth: Truth, rules: RulesConfig) -> bool | None:
    frames = truth.facts["fault_size"] if truth.facts["fault"] == "av_offset" else 0
    return past(abs(frames), rules.max_av_offset_frames or 0, below=False)


TRUTH: dict[str, Known] = {
    "cut_off": fault("truncated"),
    "no_sound": fault("no_sound"),
    "silent": fault("silence"),
    "too_little_speech": fault("silence"),
    "light_no_face": fault("no_face", unknown=RUINED),
    "light_several_faces": fault("two_faces"),
    "light_face_too_small": small(lambda rules: rules.guard),
    "several_shots": fault("scene_cut"),
    "still_picture": fault("no_face"),
    "no_face": fault("no_face", unknown=RUINED),
    "several_faces": fault("two_faces"),
    "face_too_small": small(lambda _rules: 1.0),
    "head_turned": turned,
    "blurred": fault("low_quality", unknown=("no_face",)),
    "sound_off": off,
}
"""Rules that the corpus has faults for; the others must find nothing."""


@pytest.fixture(scope="module")
def many_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SynthConfig(
        output=tmp_path_factory.mktemp("corpus") / "synthetic",
        clips=CLIPS,
        size=SIZE_PX,
        seconds=SECONDS,
        identities=CLIPS,
        workers=0,
        faults={"enabled": True, "share": 0.6},
    )
    make_corpus(config)
    return config.output


@pytest.fixture(scope="module")
def audited(many_clips: Path, config_for: ConfigFor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every clip with all measures."""
    output = tmp_path_factory.mktemp("audited")
    curate(config_for(many_clips, output=output, audit=1.0))
    return output


@pytest.fixture(scope="module")
def ordered(many_clips: Path, config_for: ConfigFor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every clip with early reject."""
    output = tmp_path_factory.mktemp("ordered")
    curate(config_for(many_clips, output=output))
    return output


def test_precision_and_recall_of_every_rule(
    many_clips: Path, audited: Path, config_for: ConfigFor, manifest: Any
) -> None:
    rules = config_for(output=audited).rules
    hits: dict[str, Counter[str]] = {rule.name: Counter() for rule in RULES}
    wrong: list[tuple[str, str, Any, Any]] = []
    for name, row in manifest(audited).items():
        truth = read_truth(many_clips / "truth" / f"{name}.parquet")
        broken = {reason.partition(":")[0]: reason for reason in row["reasons"]}
        for rule in hits:
            is_true = TRUTH.get(rule, lambda _truth, _rules: False)(truth, rules)
            if is_true is None:
                continue
            outcome = {(True, True): "hit", (True, False): "miss", (False, True): "false"}
            hits[rule][outcome.get((is_true, rule in broken), "pass")] += 1
            if is_true != (rule in broken):
                wrong.append((name, rule, truth.facts["fault"], broken.get(rule)))
    scores = {
        rule: (count["hit"], count["miss"], count["false"])
        for rule, count in hits.items()
        if count["hit"] + count["miss"] + count["false"]
    }
    assert scores.keys() >= TRUTH.keys()
    for rule, (hit, miss, false) in scores.items():
        assert hit >= 3, (rule, scores, wrong)
        assert hit / (hit + false) >= LEAST, (rule, scores, wrong)
        assert hit / (hit + miss) >= LEAST, (rule, scores, wrong)


def test_early_reject_decides_alike_and_measures_less(ordered: Path, audited: Path, manifest: Any) -> None:
    early, whole = manifest(ordered), manifest(audited)
    assert {name: row["keep"] for name, row in early.items()} == {n: row["keep"] for n, row in whole.items()}
    assert all(row["decodes"] <= 1 for row in early.values())
    decodes = sum(row["decodes"] for row in early.values()), sum(row["decodes"] for row in whole.values())
    assert decodes[0] < 0.75 * decodes[1]
