"""Opening media files that nobody vouches for: what may be opened, how, and what is said when it cannot be.

FFmpeg sniffs the content and ignores the name, so a text file called `x.mp4` can be a playlist that reads
other files or the network. Every file is therefore opened through the `file:` protocol alone, with a list of
formats and a list of decoders, and its size is checked before anything is decoded.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from megactor_core.config.media import MediaLimits
from megactor_core.errors import MediaError
from megactor_core.processes import not_stuck

# FFmpeg's names of demuxers and decoders. Playlists (concat, hls, dash), image sequences, scripts and all
# that can reach another file are left out on purpose.
FORMATS: Final = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,wav,w64,mp3,aac,ac3,eac3,flac,ogg,aiff,caf,amr"
VIDEO_CODECS: Final = (
    "h264,hevc,vp8,vp9,av1,libdav1d,mpeg4,mjpeg,mpeg1video,mpeg2video,prores,dnxhd,ffv1,rawvideo"
)
SOUND_CODECS: Final = (
    "aac,mp3,mp3float,mp2,mp2float,opus,libopus,vorbis,flac,alac,ac3,eac3,amrnb,amrwb,pcm_u8,"
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,"
    "pcm_mulaw,pcm_alaw,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt"
)

SOUND_FILE: Final = "a sound file"
"""What libsndfile reads well. It reads MP3 too, but its decoder prints to stderr; FFmpeg's does not."""
# How a file begins (offset, bytes) says what it is.
_HEADS: Final = (
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"BM", "a BMP image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (8, b"WEBP", "a WebP image"),
    (8, b"heic", "a HEIC image"),
    (8, b"heix", "a HEIC image"),
    (8, b"mif1", "a HEIC image"),
    (8, b"avif", "an AVIF image"),
    (4, b"ftyp", "an mp4 or mov video"),
    (4, b"moov", "an mp4 or mov video"),
    (4, b"mdat", "an mp4 or mov video"),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (8, b"AVI ", "an AVI video"),
    (8, b"WAVE", SOUND_FILE),
    (8, b"AIFF", SOUND_FILE),
    (8, b"AIFC", SOUND_FILE),
    (0, b"fLaC", SOUND_FILE),
    (0, b"OggS", SOUND_FILE),
    (0, b"caff", SOUND_FILE),
    (0, b"ID3", "an MP3 sound file"),
    (0, b"\xff\xfb", "an MP3 sound file"),
    (0, b"\xff\xfa", "an MP3 sound file"),
    (0, b"\xff\xf3", "an MP3 sound file"),
    (0, b"\xff\xf2", "an MP3 sound file"),
    (0, b"ffconcat", "a list of other files"),
    (0, b"#EXTM3U", "a playlist"),
    (0, b"<?xml", "an XML file"),
)
_HEAD_BYTES: Final = 4096

# A damaged file can fail at every read without ever ending; this many failures in a row are the end of it.
_READ_ERRORS_IN_A_ROW: Final = 16

_GIVE_MEDIA: Final = "Give a video (mp4, mov, mkv, webm, avi) or a sound (wav, flac, mp3, ogg, m4a)."


def require_media_file(path: Path, *, limits: MediaLimits) -> None:
    """Check that `path` is a file of a sane size; raises MediaError that says what it is instead."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"Cannot open '{path}' ({reason}).", fix="Check the path.") from None
    if path.is_dir():
        raise MediaError(f"'{path}' is a folder.", fix="Give the file inside it.")
    if not path.is_file():
        raise MediaError(f"'{path}' is a device or pipe.", fix="Save its content to a file first.")
    if status.st_size == 0:
        raise MediaError(f"'{path}' is empty (0 bytes).", fix="Copy or download it again.")
    if status.st_size > limits.max_file_bytes:
        raise MediaError(
            f"'{path}' has {status.st_size} bytes; the limit is {limits.max_file_bytes}.",
            fix="Raise max_file_bytes if you trust the file.",
        )


def content_kind(path: Path) -> str:
    """What a file looks like by its first bytes, in words for a message.

    Raises MediaError where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise MediaError(f"Cannot read '{path}' ({error.strerror}).", fix="Check its permissions.") from None
    for offset, begin, kind in _HEADS:
        if head.startswith(begin, offset):
            return kind
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    return "text" if _is_text(head) else "no format known here"


def file_url(path: Path) -> str:
    """`path` as FFmpeg opens it: a plain file, whatever its name looks like."""
    return f"file:{os.path.abspath(path)}"


@contextmanager
def open_container(path: Path, *, limits: MediaLimits) -> Iterator[InputContainer]:
    """Open a video or sound file for demuxing; what FFmpeg raises inside the block becomes MediaError.

    Raises MediaError where the file is missing, empty, too large, or of no format that is read here.
    """
    require_media_file(path, limits=limits)
    kind = content_kind(path)
    try:
        container = av.open(file_url(path), mode="r", options=_options(limits), metadata_errors="replace")
    except av.error.FFmpegError as error:
        is_media = kind.endswith(("video", "sound file"))
        raise MediaError(
            f"Cannot read '{path}' as video or sound: it looks like {kind} ({_reason(error)}).",
            fix="It is damaged or was cut off: encode or download it again." if is_media else _GIVE_MEDIA,
        ) from None
    with container:
        try:
            yield container
        except av.error.FFmpegError as error:
            raise MediaError(f"'{path}' is damaged ({_reason(error)}).", fix="Encode it again.") from None


def picture_streams(container: InputContainer) -> list[VideoStream]:
    """The video streams other than cover pictures."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def picture_stream(container: InputContainer, *, path: Path) -> VideoStream:
    """The first of them; raises MediaError where there is none."""
    pictures = picture_streams(container)
    if not pictures:
        content = "sound but no picture" if container.streams.audio else "no picture"
        raise MediaError(f"'{path}' holds {content}.", fix="Give a video file (mp4, mov, mkv, webm or avi).")
    return pictures[0]


def allow_decoder(stream: Stream, *, allowed: str, path: Path, limits: MediaLimits) -> None:
    """Bind `stream` to the decoders in `allowed` and to the frame size limit.

    Raises MediaError where its codec is not among them.
    """
    context = stream.codec_context
    # PyAV leaves the context out where this build of FFmpeg has no decoder, whatever its annotation says.
    name = getattr(context, "name", "unknown")
    if name not in allowed.split(","):
        raise MediaError(
            f"'{path}' holds {stream.type} in the codec '{name}', which is not read here.",
            fix="Convert it to H.264 video and AAC sound in an mp4 file.",
        )
    # The container's own options do not reach this decoder, which checks the size again where it changes.
    context.options = {"codec_whitelist": allowed, "max_pixels": str(limits.max_video_pixels)}


def demux_resilient(
    container: InputContainer, stream: Stream, *, on_error: Callable[[], None]
) -> Iterator[Packet]:
    """The packets of one stream; a read that fails is reported and the next one tried, until all fail."""
    errors_in_a_row = 0
    while errors_in_a_row < _READ_ERRORS_IN_A_ROW:
        try:
            for packet in container.demux(stream):
                not_stuck()
                errors_in_a_row = 0
                yield packet
            return
        except av.error.FFmpegError:
            errors_in_a_row += 1
            on_error()


def _options(limits: MediaLimits) -> dict[str, str]:
    return {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        "codec_whitelist": f"{VIDEO_CODECS},{SOUND_CODECS}",
        "max_pixels": str(limits.max_video_pixels),
    }


def _reason(error: av.error.FFmpegError) -> str:
    return error.strerror or str(error)


def _is_text(head: bytes) -> bool:
    return all(byte >= 0x20 or byte in b"\t\n\r\f" for byte in head)
