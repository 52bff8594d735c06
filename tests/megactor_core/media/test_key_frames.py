"""Key frames and packets: what is there, where, and how much of a broken file."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from megactor_core.errors import MediaError
from megactor_core.media.key_frames import read_key_frames, scan_packets
from megactor_core.media.video import read_video
from megactor_core.media.video_writer import VideoWriter

FRAMES, GOP = 100, 25


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds, each frame as grey as its number is high, a key frame a second."""
    path = tmp_path_factory.mktemp("keys") / "clip.mp4"
    with VideoWriter(path, video_fps=Fraction(25), width=64, height=48, gop_frames=GOP) as video:
        for number in range(FRAMES):
            video.write(np.full((48, 64, 3), 2 * number, np.uint8))
    return path


@pytest.fixture(scope="module")
def keys(clip: Path) -> list[int]:
    """The numbers of the key frames, where the coder put them."""
    with av.open(str(clip)) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
    numbers = sorted(round(float(p.pts * p.time_base) * 25) for p in packets if p.is_keyframe)
    assert len(numbers) >= FRAMES // GOP
    return numbers


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"every_seconds": 0.1}, lambda keys: keys),
        ({"every_seconds": 60.0}, lambda keys: keys[:1]),
        ({"every_seconds": 1.5}, lambda keys: keys[::2]),
        (
            {"every_seconds": 0.1, "start_seconds": 1.0, "seconds": 2.0},
            lambda keys: [key for key in keys if 25 <= key < 75],
        ),
        # Where none lies in the part, the one before: it shows the same shot.
        (
            {"every_seconds": 0.1, "start_seconds": 1.2, "seconds": 0.2},
            lambda keys: [max(key for key in keys if key < 30)],
        ),
    ],
)
def test_key_frames_of_a_part_thinned_out(
    clip: Path, keys: list[int], options: dict[str, float], wanted: Callable[[list[int]], list[int]]
) -> None:
    every = list(read_video(clip))
    frames = list(read_key_frames(clip, **options))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * len(wanted(keys))
    for frame, number in zip(frames, wanted(keys), strict=True):
        np.testing.assert_array_equal(frame, every[number])


def test_packets_say_how_much_there_is(clip: Path) -> None:
    scan = scan_packets(clip)
    assert (scan.packets, scan.damaged) == (FRAMES, 0)
    assert scan.until_seconds == pytest.approx(4.0, abs=0.05)
    part = scan_packets(clip, start_seconds=1.0, seconds=1.0)
    assert GOP <= part.packets <= 2 * GOP
    assert part.until_seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("share", [0.9, 0.6, 0.4])
def test_a_file_that_was_cut_off_holds_less(clip: Path, tmp_path: Path, share: float) -> None:
    content = clip.read_bytes()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content[: int(share * len(content))])
    scan = scan_packets(broken)
    assert scan.until_seconds < 3.9
    assert scan.packets < FRAMES


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(MediaError):
        scan_packets(path)
    with pytest.raises(MediaError):
        list(read_key_frames(path, every_seconds=1.0))
