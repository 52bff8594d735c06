"""The last step of a clip: say what the sample is, and give its folder its name."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.data.sample import FORMAT, SAMPLES, IndexRow, SampleFacts, write_facts
from megactor_core.engine.stage import Needs, Row, WorkerContext
from megactor_core.preprocessing import workplace


@dataclass(frozen=True, slots=True)
class Publish:
    """Writes sample.json and renames the folder. Adds the columns path, files (bytes of each) and bytes."""

    name: ClassVar[str] = "publish"
    needs: ClassVar[Needs] = Needs()

    config: PreprocessConfig
    samples: Path
    versions: dict[str, str]
    version: str

    def setup(self, worker: WorkerContext) -> None:
        """Nothing to load."""

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each clip."""
        for row in batch:
            with workplace.kept_only_if_done(self.samples, row) as folder:
                write_facts(folder, sample_facts(row, self.config, versions=self.versions))
            final = workplace.publish(self.samples, row)
            files = {path.name: path.stat().st_size for path in sorted(final.iterdir())}
            yield {**row, "path": f"{SAMPLES}/{final.name}", "files": files, "bytes": sum(files.values())}


def sample_facts(row: Row, config: PreprocessConfig, *, versions: dict[str, str]) -> SampleFacts:
    """What sample.json says of a row that has been through every stage."""
    settings: dict[str, Any] = {
        "sample_id": row["row_id"],
        "video_fps": str(config.fps),
        "size_px": config.size,
        "gop_frames": config.gop_frames,
        "landmarks": config.landmarks,
        "has_latents": row.get("has_latents", False),
        "versions": versions,
        "format": FORMAT,
    }
    measured = {field.name: row[field.name] for field in fields(SampleFacts) if field.name not in settings}
    return SampleFacts(**measured, **settings)


def index_row(result: Row, config: PreprocessConfig) -> IndexRow:
    """The index's row of a result of the job, of a clip that is no sample too."""
    is_sample = result["status"] == "ok"
    frames = result.get("frames")
    row: dict[str, Any] = {field.name: result.get(field.name) for field in fields(IndexRow)}
    row |= {
        "sample_id": result["row_id"],
        "reason": result.get("error") if result["status"] == "error" else result.get("reason"),
        "video_fps": float(config.fps) if is_sample else None,
        "size_px": config.size if is_sample else None,
        "seconds": None if frames is None else float(frames / config.fps),
        "has_latents": result.get("has_latents", False) if is_sample else None,
    }
    return IndexRow(**row)
