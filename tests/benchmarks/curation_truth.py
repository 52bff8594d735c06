"""What each rule of `megactor curate` should say of the synthetic corpus, whose faults are known.

Truth is the corpus's own: its faults, and for sizes, angles and offsets the numbers behind its pictures. The
benchmark of curation and its test ask it.
"""

from collections.abc import Callable

import numpy as np

from megactor_core.config.curate import RulesConfig
from megactor_core.synthetic.truth import Truth

MARGIN = 0.25
"""Clips whose truth lies nearer to a limit are left out for that rule."""
TRUE_ROTATION_LIMIT = 30.0
"""Degrees that heads of the corpus turn where the recipe's limit lies: they are flatter than people's."""

Known = Callable[[Truth, RulesConfig], bool | None]


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


def small(factor: Callable[[RulesConfig], float]) -> Known:
    """Whether the larger face is below a share of the limit, on the mean of all frames."""

    def known(truth: Truth, rules: RulesConfig) -> bool | None:
        people = [points for points in (truth.points, truth.second_points) if points is not None]
        sides = [np.ptp(points, axis=1).mean(axis=0).min() for points in people if np.isfinite(points).all()]
        return (
            past(float(max(sides)), factor(rules) * (rules.min_face_px or 0), below=True) if sides else None
        )

    return known


def turned(truth: Truth, _rules: RulesConfig) -> bool | None:
    """Whether the head is turned away; where it is another's turn that counts, it is not known."""
    if truth.facts["fault"] in ("no_face", "two_faces", "low_quality"):
        return None
    return past(
        float(np.abs(truth.performance.track("yaw_degrees")).mean()), TRUE_ROTATION_LIMIT, below=False
    )


def off(truth: Truth, rules: RulesConfig) -> bool | None:
    """Whether sound and picture are further apart than the limit."""
    frames = truth.facts["fault_size"] if truth.facts["fault"] == "av_offset" else 0
    return past(abs(frames), rules.max_av_offset_frames or 0, below=False)


TRUTH: dict[str, Known] = {
    "cut_off": fault("truncated"),
    "no_sound": fault("no_sound"),
    "silent": fault("silence"),
    "too_little_speech": fault("silence"),
    "light_no_face": fault("no_face", unknown=("low_quality",)),
    "light_several_faces": fault("two_faces"),
    "light_face_too_small": small(lambda rules: rules.guard),
    "several_shots": fault("scene_cut"),
    "still_picture": fault("no_face"),
    "no_face": fault("no_face", unknown=("low_quality",)),
    "several_faces": fault("two_faces"),
    "face_too_small": small(lambda _rules: 1.0),
    "head_turned": turned,
    "blurred": fault("low_quality", unknown=("no_face",)),
    "sound_off": off,
}
"""Rules that the corpus has faults for; the others must find nothing."""
