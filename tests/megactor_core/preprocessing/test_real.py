"""Real clips: every one of a single shot becomes a sample whose geometry holds on its own pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.data.sample import IndexRow, Sample, read_index
from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.faces.regions import box_masks, token_mask
from megactor_core.preprocessing.preprocess import preprocess
from megactor_core.preprocessing.sheet import spread

SIZE_PX = 256
SEVERAL_SHOTS = "facerec_short_hamilton_clip.mp4"


@pytest.fixture(scope="module")
def rows(
    real_data: Path, tmp_path_factory: pytest.TempPathFactory, config_for: Callable[..., PreprocessConfig]
) -> dict[str, tuple[IndexRow, Sample | None]]:
    """Every driving clip by name."""
    output = tmp_path_factory.mktemp("real") / "out"
    preprocess(config_for(real_data / "driving", output, size=SIZE_PX, min_frames=31))
    return {
        row.source_uri: (row, None if row.path is None else Sample.open(output / row.path))
        for row in read_index(output)
    }


@pytest.mark.real
@pytest.mark.slow
def test_single_shots_become_samples_and_their_geometry_holds(
    rows: dict[str, tuple[IndexRow, Sample | None]],
) -> None:
    assert len(rows) == 10
    for name, (row, sample) in rows.items():
        if name == SEVERAL_SHOTS:
            assert row.status == "rejected"
            continue
        assert row.status == "ok", f"{name}: {row.reason}"
        assert sample is not None
        assert row.lost_frames == 0
        assert row.has_audio == (name != "liveportrait_d0.mp4")
        _require_landmarks_on_the_crop(sample)
        _require_regions_apart(sample)
        if row.has_audio:
            assert len(sample.sound()) == sample.frames * 640


def _require_landmarks_on_the_crop(sample: Sample) -> None:
    frames = spread(sample.frames, 8)
    found = [detect_landmarks(sample.read_frames([frame])) for frame in frames]
    off_px = np.stack([f.points[0] for f in found]) - sample.points[frames]
    assert np.nanmedian(np.linalg.norm(off_px, axis=-1)) < 0.012 * SIZE_PX, sample.folder.name


def _require_regions_apart(sample: Sample) -> None:
    """Eyes lie above the mouth, and their tokens, tight about the points, never meet the mouth's."""
    eyes, mouth = sample.regions[:, :2], sample.regions[:, 2:]
    assert (eyes[..., 3].min(axis=1) < mouth[:, 0, 3]).all()
    tokens = [token_mask(box_masks(boxes, size_px=SIZE_PX)) for boxes in (eyes, mouth)]
    assert not (tokens[0] & tokens[1]).any()
