import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from megactor_core.errors import MediaError
from megactor_core.media.video import probe_video, read_video

Clip = Callable[..., Path]
FPS = Fraction(25)
# Colour bars, a grey and a skin tone: what wrong matrices and ranges get wrong.
BARS = np.array(
    [
        *(
            [255, 255, 255],
            [255, 255, 0],
            [0, 255, 255],
            [0, 255, 0],
            [255, 0, 255],
            [255, 0, 0],
            [0, 0, 255],
        ),
        *([0, 0, 0], [128, 128, 128], [200, 150, 120]),
    ],
    np.uint8,
)


def index_of(picture: np.ndarray) -> int:
    """Which of the first 15 pictures of `make_clip` this is."""
    return round((float(picture.mean()) - 8) / 16)


def indices(path: Path, **options: Any) -> list[int]:
    return [index_of(frame) for frame in read_video(path, **options)]


def corners(picture: np.ndarray) -> list[str]:
    """The colours of the four corners in reading order."""
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    height, width = picture.shape[:2]
    points = [(y, x) for y in (4, height - 5) for x in (4, width - 5)]
    return [names[tuple(int(v > 128) for v in picture[p])] for p in points]  # type: ignore[index]


def four_corners(width: int = 64, height: int = 48) -> np.ndarray:
    """Red, green in the upper half; blue, white in the lower."""
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    return picture


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("clip.mp4", "libx264", "yuv420p"),
        ("clip.mov", "libx264", "yuv420p"),
        ("clip.mkv", "libx264", "yuv420p"),
        ("clip.mp4", "libx264", "gray"),
        ("clip.mp4", "libx264", "yuv444p"),
        ("clip.mp4", "libx265", "yuv420p"),
        ("clip.mp4", "libx265", "yuv420p10le"),
        ("clip.mp4", "libsvtav1", "yuv420p"),
        ("clip.webm", "libvpx-vp9", "yuv420p"),
        ("clip.webm", "libvpx", "yuv420p"),
        ("clip.avi", "mpeg4", "yuv420p"),
        ("clip.avi", "libx264", "yuv420p"),
        ("clip.avi", "mjpeg", "yuvj420p"),
        ("clip.mov", "mjpeg", "yuvj420p"),
        ("clip.mov", "prores_ks", "yuv422p10le"),
    ],
)
def test_every_codec_and_container_gives_each_frame_once(
    make_clip: Clip, name: str, codec: str, pixel_format: str
) -> None:
    def say_full_range(stream: Any) -> None:
        stream.codec_context.color_range = 2

    # FFmpeg makes grey in full range but H.264 without a tag means limited range.
    prepare = say_full_range if pixel_format == "gray" else None
    path = make_clip(name, codec=codec, pixel_format=pixel_format, prepare=prepare)
    info = probe_video(path)
    assert (info.width, info.height, info.video_fps, info.has_sound) == (64, 48, FPS, False)
    assert info.seconds == pytest.approx(0.4)
    assert info.frames in (10, None)
    assert indices(path) == indices(path, video_fps=FPS) == list(range(10))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
@pytest.mark.parametrize("size", [(175, 143), (65, 49)])
def test_odd_sizes(make_clip: Clip, name: str, size: tuple[int, int]) -> None:
    path = make_clip(name, codec="mpeg4", size=size)
    assert {frame.shape for frame in read_video(path)} == {(size[1], size[0], 3)}
    assert (probe_video(path).width, probe_video(path).height) == size


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm", "clip.avi"])
def test_a_clip_of_one_frame(make_clip: Clip, name: str) -> None:
    codec = {"clip.webm": "libvpx-vp9", "clip.avi": "mpeg4"}.get(name, "libx264")
    path = make_clip(name, codec=codec, frames=1)
    assert indices(path) == indices(path, video_fps=Fraction(5)) == [0]
    assert indices(path, video_fps=Fraction(50)) == [0, 0]


def test_200_fps_down_to_25_takes_every_eighth_frame(make_clip: Clip) -> None:
    path = make_clip(frames=15, video_fps=Fraction(200))
    assert probe_video(path).video_fps == 200
    assert indices(path) == list(range(15))
    assert indices(path, video_fps=FPS) == [0, 8]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_variable_rate_follows_the_time_stamps(make_clip: Clip, name: str) -> None:
    path = make_clip(name, frames=5, milliseconds=[0, 40, 400, 440, 800])
    assert indices(path) == [0, 1, 2, 3, 4]
    assert indices(path, video_fps=FPS)[:20] == [0] + [1] * 9 + [2] + [3] * 9


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30000, 1001), Fraction(12)])
def test_resampling_keeps_the_length(make_clip: Clip, fps: Fraction) -> None:
    path = make_clip(frames=14)
    assert len(indices(path, video_fps=fps)) == round(14 / FPS * fps)


def test_seconds_reads_only_the_start(make_clip: Clip) -> None:
    path = make_clip()
    assert indices(path, seconds=0.2) == indices(path, seconds=0.2, video_fps=FPS) == [0, 1, 2, 3, 4]
    assert indices(path, seconds=9, video_fps=FPS) == list(range(10))


@pytest.mark.parametrize(
    ("clockwise", "expected"),
    [
        (0, ["red", "green", "blue", "white"]),
        (90, ["blue", "red", "white", "green"]),
        (180, ["white", "blue", "green", "red"]),
        (270, ["green", "white", "red", "blue"]),
    ],
)
def test_the_rotation_flag_is_applied(make_clip: Clip, clockwise: int, expected: list[str]) -> None:
    path = make_clip(frames=[four_corners()] * 2, prepare=lambda s: s.set_display_rotation(-clockwise))
    info, picture = probe_video(path), next(read_video(path))
    assert corners(picture) == expected
    assert info.rotation_degrees == clockwise
    assert (info.height, info.width, 3) == picture.shape
    assert picture.flags.c_contiguous


def test_a_mirroring_matrix_is_applied(make_clip: Clip) -> None:
    path = make_clip(frames=[four_corners()], prepare=lambda s: s.set_display_rotation(0, hflip=True))
    assert corners(next(read_video(path))) == ["green", "red", "white", "blue"]


def test_pixels_that_are_not_square_are_made_square(make_clip: Clip) -> None:
    def stretch(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    path = make_clip(frames=[four_corners(60, 48)] * 2, prepare=stretch)
    picture = next(read_video(path))
    assert picture.shape == (48, 80, 3)
    assert (probe_video(path).width, probe_video(path).height) == (80, 48)
    assert corners(picture) == ["red", "green", "blue", "white"]


def encode_bars(path: Path, *, matrix: str, full_range: bool, tagged: bool, height: int, bits: int) -> None:
    """Bars in YUV by the formulas of ITU-R BT.601 and BT.709, encoded without loss."""
    kr, kb = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}[matrix]
    red, green, blue = (BARS.repeat(32, axis=0)[None].repeat(height, axis=0) / 255).transpose(2, 0, 1)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = [(c - luma) / (2 * (1 - k)) for c, k in ((blue, kb), (red, kr))]
    offset, y_span, c_span = (0, 255, 255) if full_range else (16, 219, 224)
    planes = [offset + y_span * luma, *(128 + c_span * c for c in chroma)]
    scale, dtype = (1, np.uint8) if bits == 8 else (4, np.uint16)
    data = np.clip(np.round(np.stack(planes) * scale), 0, 256 * scale - 1).astype(dtype)
    frame = av.VideoFrame(data.shape[2], height, "yuv444p" if bits == 8 else "yuv444p10le")
    for plane, values in zip(frame.planes, data, strict=True):
        plane.update(values.tobytes())
    frame.colorspace = {"601": 5, "709": 1}[matrix] if tagged else 2
    frame.color_range = 2 if full_range else 1
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width = data.shape[1:]
        stream.pix_fmt = frame.format.name
        stream.codec_context.colorspace = frame.colorspace
        stream.codec_context.color_range = frame.color_range
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("matrix", "full_range", "tagged", "height", "bits"),
    [
        ("601", False, True, 64, 8),
        ("709", False, True, 64, 8),
        ("709", True, True, 64, 8),
        ("601", True, True, 64, 8),
        ("709", False, True, 64, 10),
        ("601", False, False, 64, 8),
        ("709", False, False, 720, 8),
    ],
)
def test_colours_follow_the_tags_or_the_size(
    tmp_path: Path, matrix: str, full_range: bool, tagged: bool, height: int, bits: int
) -> None:
    path = tmp_path / "bars.mp4"
    encode_bars(path, matrix=matrix, full_range=full_range, tagged=tagged, height=height, bits=bits)
    seen = next(read_video(path))[height // 2, 16::32].astype(int)
    assert np.abs(seen - BARS).max() <= 3


def damage(path: Path, packets: list[int]) -> None:
    """Overwrite whole packets of the picture with noise, where they lie in the file."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        places = [(p.pos, p.size) for p in container.demux(stream) if p.size]
    content = bytearray(path.read_bytes())
    noise = np.random.default_rng(1)
    for index in packets:
        start, size = places[index]
        assert start is not None
        content[start : start + size] = noise.bytes(size)
    path.write_bytes(content)


def test_damaged_frames_are_skipped_counted_and_bridged(make_clip: Clip) -> None:
    path = make_clip(name="clip.mov", codec="prores_ks", pixel_format="yuv422p10le")
    damage(path, [3, 4, 9])
    skipped: list[int] = []
    assert indices(path, on_skipped=skipped.append) == [0, 1, 2, 5, 6, 7, 8]
    assert skipped == [1, 2, 3]
    assert indices(path, video_fps=FPS) == [0, 1, 2, 2, 2, 5, 6, 7, 8, 8]


def test_a_time_stamp_in_the_far_future_is_refused_and_not_held_for_hours(make_clip: Clip) -> None:
    path = make_clip(
        "clip.mov", codec="prores_ks", pixel_format="yuv422p10le", frames=3, milliseconds=[0, 40, 10**8]
    )
    for break_last in (False, True):
        if break_last:
            damage(path, [2])
        with pytest.raises(MediaError, match="s long; the limit is 21600 s"):
            list(read_video(path, video_fps=FPS))


def test_a_clip_without_any_decodable_frame_is_an_error(make_clip: Clip) -> None:
    path = make_clip(name="clip.mov", codec="prores_ks", pixel_format="yuv422p10le", frames=3)
    damage(path, [0, 1, 2])
    for read in (probe_video, lambda p: list(read_video(p))):
        with pytest.raises(MediaError, match="No frame of"):
            read(path)


def test_flipped_bytes_anywhere_never_leak_another_error(make_clip: Clip) -> None:
    path = make_clip(options={"g": "5"})
    good = path.read_bytes()
    noise = np.random.default_rng(2)
    for _ in range(60):
        content = bytearray(good)
        for place in noise.integers(0, len(content), 8):
            content[place] ^= int(noise.integers(1, 256))
        path.write_bytes(content)
        with suppress(MediaError):
            probe_video(path)
            assert 1 <= sum(1 for _ in read_video(path, video_fps=FPS, seconds=2)) <= 50


def test_a_recording_without_a_declared_length_is_measured(make_clip: Clip) -> None:
    path = make_clip("clip.mkv")
    content = path.read_bytes()
    # Matroska's Duration element (id 4489), turned into a Void element (id EC) of the same size.
    place = content.index(b"\x44\x89\x88")
    path.write_bytes(content[:place] + b"\xec\x89" + content[place + 2 :])
    assert probe_video(path).seconds == pytest.approx(0.4)


def test_a_size_that_changes_on_the_way_is_an_error_with_both_sizes(make_clip: Clip, tmp_path: Path) -> None:
    small, large = make_clip("a.avi", codec="mjpeg", pixel_format="yuvj420p"), tmp_path / "joined.avi"
    big = make_clip("b.avi", codec="mjpeg", pixel_format="yuvj420p", size=(80, 48))
    with av.open(str(large), "w") as output, av.open(str(small)) as first, av.open(str(big)) as second:
        copy = output.add_stream_from_template(first.streams.video[0])
        for offset, source in ((0, first), (10, second)):
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.pts = packet.dts = packet.dts + offset
                    packet.stream = copy
                    output.mux(packet)
    with pytest.raises(MediaError, match="from 64 x 48 to 80 x 48"):
        list(read_video(large))


def test_reading_starts_late_and_stops_early_without_a_trace(make_clip: Clip) -> None:
    frames = read_video(make_clip())
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert list(frames) == []


def test_memory_stays_flat_over_a_long_clip(make_clip: Clip) -> None:
    path = make_clip(frames=15, size=(320, 240), video_fps=Fraction(1))
    frame_bytes = 320 * 240 * 3
    frames = read_video(path, video_fps=Fraction(30))
    next(frames)
    tracemalloc.start()
    count = sum(1 for _ in frames)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 449
    assert peak < 6 * frame_bytes


@pytest.mark.real
@pytest.mark.slow
def test_real_clips_keep_their_frames_and_length(real_data: Path) -> None:
    clips = sorted(p for p in (real_data / "driving").rglob("*") if p.suffix in (".mp4", ".avi"))
    assert clips
    for path in clips:
        info = probe_video(path)
        skipped: list[int] = []
        count = sum(1 for _ in read_video(path, video_fps=info.video_fps, on_skipped=skipped.append))
        assert count == info.frames
        assert not skipped
        frame = next(read_video(path))
        assert frame.shape == (info.height, info.width, 3)


# ---------------------------------------------------------------- a start in the middle


@pytest.mark.parametrize("options", [{"g": "4"}, {"g": "250"}, {"g": "5", "bf": "0"}])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_reading_from_the_middle_gives_what_reading_all_gives_there(
    make_clip: Clip, name: str, options: dict[str, str]
) -> None:
    clip = make_clip(name, frames=14, options=options)
    whole = indices(clip, video_fps=FPS)
    for start in range(14):
        assert indices(clip, video_fps=FPS, start_seconds=start / 25) == whole[start:]
        assert indices(clip, start_seconds=start / 25) == whole[start:]
    assert indices(clip, video_fps=FPS, start_seconds=0.2, seconds=0.12) == [5, 6, 7]


def test_a_start_between_frames_shows_the_nearest(make_clip: Clip) -> None:
    clip = make_clip(frames=10)
    assert indices(clip, video_fps=FPS, start_seconds=0.21)[0] == 5
    assert indices(clip, video_fps=FPS, start_seconds=0.235)[0] == 6


def test_a_start_behind_the_end_is_an_error(make_clip: Clip) -> None:
    with pytest.raises(MediaError, match="ends before"):
        list(read_video(make_clip(frames=10), video_fps=FPS, start_seconds=0.6))


def test_the_middle_is_reached_without_decoding_what_is_before(
    make_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    from megactor_core.media.video import _Clip

    decoded = []
    frames_of = _Clip._frames_of
    monkeypatch.setattr(
        _Clip, "_frames_of", lambda clip, packet: decoded.append(1) or frames_of(clip, packet)
    )
    clip = make_clip(frames=200, options={"g": "10"})
    list(read_video(clip, video_fps=FPS, start_seconds=6.0, seconds=0.2))
    assert len(decoded) < 40
