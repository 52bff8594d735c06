"""Files that are not what their names say: none makes a reader open another file or a network."""

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from megactor_core.config.media import DEFAULT_LIMITS
from megactor_core.errors import MediaError
from megactor_core.media.audio import read_sound
from megactor_core.media.container import SOUND_CODECS, VIDEO_CODECS
from megactor_core.media.image import read_image
from megactor_core.media.key_frames import read_key_frames, scan_packets
from megactor_core.media.seekable import SeekableVideo
from megactor_core.media.video import probe_video, read_video

Read = Callable[[Path], object]


def by_number(path: Path) -> object:
    with SeekableVideo(path, key_frame_every=4) as video:
        return video.read([0])


READERS: dict[str, Read] = {
    "probe": probe_video,
    "frames": lambda path: next(read_video(path)),
    "part": lambda path: next(read_video(path, start_seconds=0.1)),
    "key frames": lambda path: next(read_key_frames(path, every_seconds=1)),
    "packets": scan_packets,
    "by number": by_number,
    "sound": read_sound,
    "image": read_image,
}


class Requests(http.server.BaseHTTPRequestHandler):
    """Keeps the paths that were asked for, and answers with nothing."""

    seen: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An address on this machine that must never be asked for anything."""
    Requests.seen.clear()
    with http.server.HTTPServer(("127.0.0.1", 0), Requests) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


SCRIPTS = {
    "ffconcat": "ffconcat version 1.0\nfile sibling.mp4\n",
    "concat with an address": "ffconcat version 1.0\nfile {server}/a.mp4\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsibling.mp4\n#EXT-X-ENDLIST\n",
    "hls of an address": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{server}/a.ts\n#EXT-X-ENDLIST\n",
    "hls master": '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="{server}/a.m3u8"\n',
    "plain m3u8": "{server}/list.mp4\nsibling.mp4\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet '
    'mimeType="video/mp4"><Representation id="1"><BaseURL>{server}/a.mp4</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    '<image xlink:href="{server}/a.png"/></svg>',
    "image magick": "push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 '{server}/a.png'\n",
    "postscript": "%!PS-Adobe-3.0\n(/etc/passwd) (r) file\n",
    "asx": '<asx version="3.0"><entry><ref href="{server}/a.wmv"/></entry></asx>',
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("reader", READERS)
def test_scripts_and_playlists_are_refused_whatever_their_name(
    tmp_path: Path, example: Path, server: str, script: str, reader: str
) -> None:
    sibling = tmp_path / "sibling.mp4"
    sibling.write_bytes((example / "driving.mp4").read_bytes())
    os.utime(sibling, ns=(1, 1))  # so long ago that a reader leaves a new time of access
    for name in ("x.mp4", "x.wav", "x.png", "x.m3u8", "x"):
        path = tmp_path / name
        path.write_text(SCRIPTS[script].format(server=server))
        with pytest.raises(MediaError):
            READERS[reader](path)
    assert Requests.seen == []
    assert sibling.stat().st_atime_ns == 1


def test_a_careless_reader_opens_the_sibling(tmp_path: Path, example: Path) -> None:
    (tmp_path / "sibling.mp4").write_bytes((example / "driving.mp4").read_bytes())
    script = tmp_path / "x.mp4"
    script.write_text(SCRIPTS["ffconcat"])
    with av.open(str(script)) as container:  # what the refusal above is worth
        assert container.format.name == "concat"
        assert container.streams.video[0].width > 0


# ---------------------------------------------------------------- codecs


@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [("magicyuv", "yuv420p"), ("huffyuv", "yuv422p"), ("png", "rgb24"), ("msvideo1", "rgb555le")],
)
@pytest.mark.parametrize("reader", [name for name in READERS if name not in ("packets", "sound", "image")])
def test_codecs_off_the_list_are_refused_by_every_reader(
    tmp_path: Path, codec: str, pixel_format: str, reader: str
) -> None:
    path = tmp_path / "odd.avi"
    _write_video(path, codec=codec, pixel_format=pixel_format)
    with pytest.raises(MediaError, match=f"in the codec '{codec}', which is not read here"):
        READERS[reader](path)


def test_sound_codecs_off_the_list_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("tta", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="in the codec 'tta', which is not read here"):
        read_sound(path)


def test_the_list_has_no_codec_with_a_known_hole() -> None:
    listed = {*VIDEO_CODECS.split(","), *SOUND_CODECS.split(",")}
    assert "magicyuv" in av.codecs_available  # CVE-2026-8461: the wheel has it, so the list must not
    assert not listed & {"magicyuv", "exr", "tiff", "cfhd", "rasc", "vmnc", "png", "apng", "gif"}


def test_the_decoder_itself_is_bound_to_the_list(tmp_path: Path) -> None:
    """Not only by the name that the header gives: FFmpeg would open another one on its own."""
    path = tmp_path / "good.mkv"
    _write_video(path, codec="mpeg4", pixel_format="yuv420p")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"codec_whitelist": "h264"}
        with pytest.raises(av.error.FFmpegError):
            next(container.decode(stream))


def test_a_size_that_grows_inside_the_stream_is_refused(tmp_path: Path) -> None:
    """The header is one thing, what the decoder then meets another."""
    small, large = tmp_path / "small.mkv", tmp_path / "large.mkv"
    _write_video(small, codec="mjpeg", pixel_format="yuvj420p", size=(64, 64))
    _write_video(large, codec="mjpeg", pixel_format="yuvj420p", size=(512, 512))
    with av.open(str(small)) as a, av.open(str(large)) as b, av.open(str(tmp_path / "both.mkv"), "w") as both:
        stream = both.add_stream_from_template(a.streams.video[0])
        for number, packet in enumerate([next(a.demux()), next(b.demux())]):
            packet.stream, packet.pts, packet.dts = stream, number * 40, number * 40
            both.mux(packet)
    limits = DEFAULT_LIMITS.updated(max_video_pixels=64 * 64)
    assert len(list(read_video(small, limits=limits))) == 4
    with pytest.raises(MediaError, match="changes its frame size"):
        list(read_video(tmp_path / "both.mkv"))
    assert (
        len(list(read_video(tmp_path / "both.mkv", limits=limits))) == 1
    )  # the large one is not even decoded


def _write_video(path: Path, *, codec: str, pixel_format: str, size: tuple[int, int] = (64, 64)) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        for number in range(4):
            picture = np.full((size[1], size[0], 3), 40 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
