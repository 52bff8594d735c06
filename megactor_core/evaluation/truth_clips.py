"""Preprocessed clips of a synthetic corpus beside the truth about every frame.

Shape legend:
    F frames   68 points in pixels of the sample's picture
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megactor_core.config.splits import Split
from megactor_core.data.sample import Sample, read_index
from megactor_core.errors import MetricError
from megactor_core.faces.amplitude import transform_points
from megactor_core.faces.crop import SquareCrop
from megactor_core.synthetic.plan import ClipFiles
from megactor_core.synthetic.state import Performance
from megactor_core.synthetic.truth import Truth, read_truth


@dataclass(frozen=True, slots=True)
class TruthClip:
    """A sample, what its head does, and where its landmarks are, exactly."""

    sample: Sample
    performance: Performance
    points: np.ndarray
    """(F, 68, 2) float64."""
    twin_points: np.ndarray | None
    """Those of its driver, who does the same; None where the corpus has no twins."""

    @property
    def name(self) -> str:
        return self.sample.facts.sample_id

    def traits(self, names: tuple[str, ...]) -> np.ndarray:
        """Tracks by name, (F, len(names))."""
        return np.stack([self.performance.track(name) for name in names], axis=1)


def truth_clips(
    data: Path, corpus: Path, *, split: Split | None = None, most: int | None = None
) -> list[TruthClip]:
    """The samples of `data`, by name, with their truth in `corpus`; `split` None: of all identities.

    Raises MediaError where `data` holds no samples, MetricError where a sample is not of that corpus, or
    there is none.
    """
    rows = [row for row in read_index(data) if row.status == "ok" and row.path is not None]
    wanted = sorted((row for row in rows if split in (None, row.split)), key=lambda row: row.sample_id)[:most]
    if not wanted:
        raise MetricError(f"None of the {len(rows)} samples in '{data}' is of the split '{split}'.")
    return [_with_truth(Sample.open(data / str(row.path)), corpus) for row in wanted]


def _with_truth(sample: Sample, corpus: Path) -> TruthClip:
    facts = sample.facts
    clip_id = Path(facts.source_uri).stem
    truth = _read(corpus / ClipFiles.of(clip_id).truth, sample, corpus)
    if len(truth.performance) != facts.frames or truth.performance.video_fps != float(facts.rate):
        raise MetricError(
            f"The sample '{facts.sample_id}' has {facts.frames} frames at {facts.video_fps} a second, its "
            f"truth {len(truth.performance)} at {truth.performance.video_fps:g}.",
            fix="Preprocess whole clips at the corpus's own rate.",
        )
    twin = corpus / ClipFiles.of(f"{clip_id}-twin").truth
    crop = SquareCrop(x=facts.crop_x, y=facts.crop_y, side=facts.crop_side).to_matrix(facts.size_px)
    return TruthClip(
        sample=sample,
        performance=truth.performance,
        points=transform_points(crop, truth.points.astype(np.float64)),
        twin_points=transform_points(crop, read_truth(twin).points.astype(np.float64))
        if facts.has_driver and twin.is_file()
        else None,
    )


def _read(path: Path, sample: Sample, corpus: Path) -> Truth:
    if not path.is_file():
        raise MetricError(
            f"The corpus '{corpus}' knows nothing of the sample '{sample.facts.sample_id}' (no '{path}').",
            fix="Name the corpus that the samples were made from.",
        )
    return read_truth(path)
