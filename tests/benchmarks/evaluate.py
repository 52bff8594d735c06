"""All weight-free metrics of a pair of clips together, against each alone less the decodes that it repeats.

MEGACTOR_TEST_DATA=DIR python tests/benchmarks/evaluate.py
"""

import os
import sys
import tempfile
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
from measure import interleaved, ratio, spread

from megactor_core.config.evaluate import EvaluateConfig, MetricName
from megactor_core.engine.stage import Needs
from megactor_core.evaluation.clip import ScoreClips
from megactor_core.evaluation.feature_cache import Tape
from megactor_core.evaluation.pairing import Pair
from megactor_core.evaluation.reading import PairReading
from megactor_core.media.audio import fit_seconds, read_sound
from megactor_core.media.video import read_video
from megactor_core.media.video_writer import VideoWriter

FRAMES, SIZE_PX, FPS = 32, 256, Fraction(25)
METRICS: tuple[MetricName, ...] = (
    *("psnr", "ssim", "ms_ssim", "niqe", "faces", "av_sync", "motion", "flicker"),
)


def make_clip(source: Path, path: Path) -> Path:
    frames = islice(read_video(source, video_fps=FPS), FRAMES)
    seconds = float(FRAMES / FPS)
    sound = fit_seconds(read_sound(source, seconds=seconds), seconds=seconds)
    with VideoWriter(path, video_fps=FPS, width=SIZE_PX, height=SIZE_PX, sound=sound) as video:
        for frame in frames:
            video.write(cv2.resize(frame, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA))
    return path


def main() -> None:
    source = Path(os.environ["MEGACTOR_TEST_DATA"]) / "driving" / "megactor_audio_ENTF_1.mp4"
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(source, Path(folder) / "clip.mp4")
        pair = Pair(name="clip", generated=clip, real=clip)
        config = EvaluateConfig(cache_features=False)

        def score(*metrics: MetricName) -> None:
            stage = ScoreClips(config, metrics, {}, Path(folder), version="", needs=Needs())
            stage.score(pair)

        def decode() -> None:
            for _ in PairReading(pair, config, False, Tape()).blocks():
                pass

        works = {name: lambda name=name: score(name) for name in METRICS}
        seconds = interleaved(
            {**works, "all": lambda: score(*METRICS), "control": lambda: score(*METRICS), "decode": decode}
        )
    alone = [
        sum(seconds[name][k] for name in METRICS) - (len(METRICS) - 1) * seconds["decode"][k]
        for k in range(len(seconds["all"]))
    ]
    for name, values in seconds.items():
        sys.stdout.write(f"{name:10s} {sorted(values)[len(values) // 2]:.3f} s\n")
    for name, others in (("control / all", "control"), ("all / each alone", "all")):
        below = seconds["all"] if others == "control" else alone
        sys.stdout.write(f"{name}: {ratio(seconds[others], below):.3f} ({spread(seconds[others], below)})\n")


if __name__ == "__main__":
    main()
