"""The gauge learns from the truth of a corpus: its error falls, and what it learns from fits the pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from megactor_core.config.gauge import GaugeConfig, SofteningConfig
from megactor_core.errors import MetricError
from megactor_core.evaluation.gauge_fit import compare_with_truth, fit_gauge, gauge_page, soften
from megactor_core.evaluation.truth_clips import truth_clips
from megactor_core.metrics.gauge import TRAITS, Readings, load_gauge


@pytest.fixture
def config(talkers: Any, tmp_path: Path) -> GaugeConfig:
    return GaugeConfig(
        data=talkers.data,
        corpus=talkers.corpus,
        output=tmp_path / "gauge",
        frames_per_clip=4,
        batch_size=8,
        steps=1,
    )


@pytest.mark.slow
def test_fitting_lowers_the_error(config: GaugeConfig, tmp_path: Path) -> None:
    before = fit_gauge(config)
    after = fit_gauge(config.updated(output=tmp_path / "longer", steps=40))
    assert after.loss < 0.5 * before.loss
    assert after.true_frames.points_error < 0.5 * before.true_frames.points_error
    assert (after.training_frames, after.training_people) == (2 * 4 * 2, 4)
    found = load_gauge(after.output)
    assert found.facts["held_out"]["loss"] == after.loss
    assert f"{after.true_frames.points_error:.4f}" in gauge_page(after)


def test_the_same_seed_gives_the_same_gauge(config: GaugeConfig, tmp_path: Path) -> None:
    first = fit_gauge(config)
    assert fit_gauge(config.updated(output=tmp_path / "again")).sha256 == first.sha256
    assert fit_gauge(config.updated(output=tmp_path / "other", seed=1)).sha256 != first.sha256


def test_truth_lies_on_the_pictures_of_clip_and_driver(talkers: Any) -> None:
    for clip in truth_clips(talkers.data, talkers.corpus):
        distance = np.linalg.norm(clip.points - clip.sample.points, axis=-1)
        assert distance.mean() < 5, "the detector's landmarks are within a few pixels of the truth"
        assert clip.twin_points is not None
        assert clip.performance.track("mouth_open").shape == (clip.sample.frames,)
        apart = np.linalg.norm(clip.twin_points - clip.points, axis=-1)
        assert 0 < apart.mean() < 20, "another person in the same place"


def test_another_corpus_is_refused(talkers: Any, tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="knows nothing of the sample"):
        truth_clips(talkers.data, tmp_path)


def test_points_move_with_their_picture() -> None:
    config = SofteningConfig(shift_px=6, zoom=0.1, shrink=1, noise=0, colour=0)
    pictures, points = torch.zeros(4, 3, 128, 128), torch.full((4, 68, 2), 40.0)
    points[:, :, 0] = 70
    pictures[:, :, 38:43, 68:73] = 1
    moved, places = soften(pictures, points, config, rng=np.random.default_rng([1]))
    at = torch.arange(128.0)
    weights = moved.mean(dim=1) / moved.mean(dim=1).sum(dim=(1, 2), keepdim=True)
    centre = torch.stack([(weights.sum(1) * at).sum(-1), (weights.sum(2) * at).sum(-1)], dim=-1)
    assert (centre - points[:, 0]).abs().max() > 1
    torch.testing.assert_close(centre, places[:, 0], atol=0.05, rtol=0)


def test_softening_keeps_pictures_in_range_and_depends_on_its_generator_alone() -> None:
    pictures, points = torch.rand(5, 3, 128, 128), torch.rand(5, 68, 2)
    first, second, third = (
        soften(pictures, points, SofteningConfig(), rng=np.random.default_rng([seed]))[0]
        for seed in (1, 1, 2)
    )
    assert first.shape == pictures.shape
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_the_gaze_of_a_closed_eye_does_not_count() -> None:
    rng = np.random.default_rng([3])
    traits = rng.uniform(0.5, 1, (20, len(TRAITS)))
    eye, gaze = TRAITS.index("eye_open"), TRAITS.index("gaze_x")
    read = traits.copy()
    traits[:5, eye], read[:5, gaze] = 0, 99
    found = compare_with_truth(
        Readings(read, np.zeros((20, 68, 2))), traits=traits, points=np.arange(20 * 136.0).reshape(20, 68, 2)
    )
    assert found.correlations["gaze_x"] == pytest.approx(1)
    assert found.correlations["eye_open"] < 1
