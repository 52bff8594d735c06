"""The weight-free check of picture against sound: of what it says nothing."""

import numpy as np
import pytest

from megactor_core.curation.av_check import measure_av_sync

FRAMES, AUDIO_HZ = 50, 16_000


def _face(width_px: float) -> np.ndarray:
    """Points (F, 68, 2) of a face so wide, whose lips move."""
    rng = np.random.default_rng([0])
    points = np.tile(rng.uniform(0, 1, (68, 2)), (FRAMES, 1, 1))
    points[:, 0], points[:, 16] = (0, 0.5), (1, 0.5)
    points[:, 57, 1] += rng.uniform(0, 0.2, FRAMES)
    return (points * width_px).astype(np.float32)


@pytest.mark.parametrize(("width_px", "is_taken"), [(17, False), (23, False), (25, True), (60, True)])
def test_lips_of_a_small_face_are_not_held_against_the_sound(width_px: float, is_taken: bool) -> None:
    sound = np.random.default_rng([1]).uniform(-0.5, 0.5, FRAMES * AUDIO_HZ // 25).astype(np.float32)
    measures, why = measure_av_sync(_face(width_px), sound, lips_face_px=24)
    assert measures["tracked_share"] == 1
    assert measures["mouth_amplitude"] is not None
    assert ("av_confidence" in measures) == is_taken
    if not is_taken:
        assert why == "a face narrower than 24 px"


def test_a_clip_without_a_face_or_without_sound_says_so() -> None:
    nobody = np.full((FRAMES, 68, 2), np.nan, np.float32)
    assert measure_av_sync(nobody, None, lips_face_px=24)[1] == "no sound"
    sound = np.zeros(FRAMES * AUDIO_HZ // 25, np.float32)
    assert measure_av_sync(nobody, sound, lips_face_px=24)[1] is not None
