"""Portraits x drivers x modalities on real clips."""

from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import pytest

from megactor_core.animation.animate import AnimateReport, animate_jobs
from megactor_core.config.animate import AnimateConfig
from megactor_core.media.video import read_video

PORTRAITS = ["portraits/hallo_3.jpg", "portraits/skimage_astronaut.png", "portraits/megactor_source_4.png"]
DRIVERS = {  # with the rate of the file
    "driving/mochabench/4_man_reading.mp4": 24,
    "driving/hdtf_sadtalker_WDA_KatieHill_000.mp4": 25,
    "driving/megactor_audio_CHTF_2.mp4": 30,
}
SPEECH = "audio/jfk.wav"
SECONDS = 1.3


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("video_fps", [Fraction(25), Fraction(30000, 1001)])
def test_every_portrait_driver_and_modality(video_fps: Fraction, real_data: Path, tmp_path: Path) -> None:
    configs = [
        AnimateConfig(
            reference=real_data / portrait,
            driving=None if modality == "A" else real_data / driver,
            audio=None if modality == "V" else real_data / (SPEECH if modality == "A+V" else driver),
            output=tmp_path / f"{number}.mp4",
            seconds=SECONDS,
            steps=2,
            fps=video_fps,
        )
        for number, (portrait, driver, modality) in enumerate(product(PORTRAITS, DRIVERS, ("A", "V", "A+V")))
    ]
    reports = animate_jobs(configs)
    expected = round(Fraction(SECONDS) * video_fps)
    assert len(reports) == 27
    for report in reports:
        assert isinstance(report, AnimateReport), report
        frames = sum(frame.shape == (128, 128, 3) for frame in read_video(report.output))
        assert frames == report.frames == expected
        with av.open(str(report.output)) as container:
            picture, sound = container.streams.video[0], container.streams.audio[0]
            assert picture.average_rate == video_fps
            assert abs(picture.duration * picture.time_base - expected / video_fps) < Fraction(1, 1000)
            assert abs(sound.duration * sound.time_base - expected / video_fps) <= 1 / video_fps / 2
            assert sum(frame.samples for frame in container.decode(audio=0)) > 0
