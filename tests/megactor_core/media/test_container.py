import os
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from megactor_core.config.media import MediaLimits
from megactor_core.errors import MediaError
from megactor_core.media.audio import read_sound
from megactor_core.media.image import read_image
from megactor_core.media.video import probe_video, read_video

Clip = Callable[..., Path]
CONCAT = "ffconcat version 1.0\nfile good.mp4\n"
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ngood.mp4\n#EXT-X-ENDLIST\n"
UNUSABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty (0 bytes)"),
    "zeros": (bytes(5000), "zero bytes"),
    "text": (b"Dear reader,\nthis is a letter.\n" * 40, "text"),
    "random": (np.random.default_rng(0).bytes(5000), "no format known"),
    "concat": (CONCAT.encode(), "list of other files"),
    "hls": (PLAYLIST.encode(), "playlist"),
    "sdp": (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", "text"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(500), "HEIC image"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("read", [probe_video, read_sound, read_image])
def test_what_is_no_media_file_is_named_in_one_error(
    tmp_path: Path, make_clip: Clip, kind: str, read: Callable[[Path], object]
) -> None:
    make_clip("good.mp4")
    content, words = UNUSABLE[kind]
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        read(path)
    assert words in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize("read", [probe_video, read_sound, read_image])
def test_missing_file_folder_and_pipe(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("missing.mp4", "No such file"), (".", "is a folder"), ("pipe", "pipe")):
        with pytest.raises(MediaError, match=words):
            read(tmp_path / name)
    with pytest.raises(MediaError, match="null"):
        read(tmp_path / "a\0b")


def test_each_kind_given_as_another(tmp_path: Path, make_clip: Clip) -> None:
    video = make_clip()
    sound, image = tmp_path / "sound.mp4", tmp_path / "image.mp4"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 8000, 800, "NONE", "none"))
        file.writeframes(bytes(1600))
    Image.new("RGB", (8, 8)).save(image, format="PNG")
    with pytest.raises(MediaError, match="sound but no picture"):
        probe_video(sound)
    with pytest.raises(MediaError, match="PNG image"):
        probe_video(image)
    with pytest.raises(MediaError, match="PNG image"):
        read_sound(image)
    with pytest.raises(MediaError, match="video without sound"):
        read_sound(video)
    with pytest.raises(MediaError, match="mp4 or mov video"):
        read_image(video)
    with pytest.raises(MediaError, match="sound file"):
        read_image(sound)


@pytest.mark.parametrize("kept", [48, 700, 0.5])
def test_a_cut_off_mp4_says_so(make_clip: Clip, kept: float) -> None:
    path = make_clip()
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(MediaError, match=r"cut off|no picture"):
        probe_video(path)


@pytest.mark.parametrize(
    "name",
    ["a b.mp4", "ü漢.mp4", "-x.mp4", "http:x.mp4", "concat:a|b", "pipe:0", "file:x.mp4", "%03d.mp4", "-"],
)
def test_a_name_is_only_a_name(
    make_clip: Clip, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    make_clip().rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, Path(name)):
        assert len(list(read_video(path))) == probe_video(path).frames == 10


def test_limits_are_checked_before_decoding(make_clip: Clip) -> None:
    path = make_clip()
    for limits, words in (
        (MediaLimits(max_file_bytes=100), "bytes; the limit is 100"),
        (MediaLimits(max_video_pixels=1000), "64 x 48"),
        (MediaLimits(max_video_side=50), "64 x 48"),
        (MediaLimits(max_video_seconds=0.1), "the limit is 0 s"),
    ):
        with pytest.raises(MediaError, match=words):
            probe_video(path, limits=limits)
        with pytest.raises(MediaError, match=words):
            list(read_video(path, limits=limits))


def test_a_codec_off_the_list_is_refused(make_clip: Clip) -> None:
    path = make_clip("clip.avi", codec="huffyuv", pixel_format="yuv422p")
    with pytest.raises(MediaError, match="'huffyuv', which is not read"):
        probe_video(path)
