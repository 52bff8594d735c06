"""The readers of images, sounds and videos, and tiny files of every kind that they accept."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from parsers import Parser, drain, each
from PIL import Image

from megactor_core.animation.plan import plan
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.media import MediaLimits
from megactor_core.curation.part import Part
from megactor_core.curation.probe import measure_probe
from megactor_core.media.audio import read_sound, to_mono
from megactor_core.media.image import read_image
from megactor_core.media.key_frames import read_key_frames, scan_packets
from megactor_core.media.seekable import SeekableVideo
from megactor_core.media.video import probe_video, read_video

VIDEO_FPS, FRAMES, SIDES = Fraction(25), 8, (64, 48)
AUDIO_HZ, SECONDS = 16_000, 0.32
SAME_BYTES = {"fflags": "+bitexact"}
"""No random numbers of streams: the same spoilt files in every run."""
LIMITS = MediaLimits(max_video_seconds=60, max_sound_seconds=60)
"""The defaults but for the lengths: a clip that claims hours is lawful, and takes long."""
IMAGES = {
    "png": {"compress_level": 1},
    "jpeg": {"quality": 80},
    "webp": {"lossless": True},
    "gif": {},
    "bmp": {},
    "tiff": {"compression": "tiff_lzw"},
}
SOUNDS = {"wav": "pcm_s16le", "mp3": "libmp3lame", "m4a": "aac", "ogg": "libopus"}
VIDEOS = {
    "h264.mp4": ("libx264", "aac", {"preset": "ultrafast", "g": "4"}),
    "av1.mp4": ("libsvtav1", None, {"preset": "12", "svtav1-params": "lp=1"}),
    "mjpeg.mov": ("mjpeg", "pcm_s16le", {}),
    "hevc.mkv": (
        "libx265",
        "flac",
        {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"},
    ),
    "vp9.webm": ("libvpx-vp9", "libopus", {"deadline": "realtime", "cpu-used": "8"}),
    "mpeg4.avi": ("mpeg4", "libmp3lame", {"g": "4"}),
}


def picture(number: int = 0) -> np.ndarray:
    """Smooth colours that move with the number: (H, W, 3) uint8."""
    x, y = np.meshgrid(np.arange(SIDES[0]), np.arange(SIDES[1]))
    return np.stack([5 * x + 9 * number, 7 * y, 3 * (x + y) + 40], axis=-1).astype(np.uint8)


def tone() -> np.ndarray:
    return (np.sin(np.arange(round(SECONDS * AUDIO_HZ)) / 9) * 12_000).astype(np.int16)


def make_image(folder: Path, *, kind: str) -> None:
    for mode in ("RGB", "RGBA", "P", "L") if kind in ("png", "gif", "webp", "tiff") else ("RGB",):
        image = Image.fromarray(picture()).convert(mode)
        exif = Image.Exif()
        exif[0x0112] = 6  # orientation
        image.save(folder / f"{mode}.{kind}", exif=exif, **IMAGES[kind])


def make_sound(folder: Path, *, kind: str) -> None:
    if kind == "flac":
        soundfile.write(folder / "tone.flac", tone(), AUDIO_HZ)
        return
    rate = 48_000 if kind == "ogg" else AUDIO_HZ
    with av.open(str(folder / f"tone.{kind}"), "w", options=SAME_BYTES) as container:
        _encode_tone(container, container.add_stream(SOUNDS[kind], rate=rate, layout="mono"))
    if kind == "wav":
        with av.open(str(folder / "float.wav"), "w", options=SAME_BYTES) as container:
            _encode_tone(container, container.add_stream("pcm_f32le", rate=rate, layout="mono"))


def make_video(folder: Path, *, kind: str) -> None:
    codec, sound, options = VIDEOS[kind]
    with av.open(str(folder / kind), "w", options=SAME_BYTES) as container:
        stream: Any = container.add_stream(codec, rate=VIDEO_FPS, options=options)
        stream.width, stream.height = SIDES
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        rate = 48_000 if sound == "libopus" else AUDIO_HZ
        track = container.add_stream(sound, rate=rate, layout="mono") if sound else None
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame = frame.reformat(stream.width, stream.height, stream.pix_fmt)
            frame.pts, frame.time_base = number, 1 / VIDEO_FPS
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None:
            _encode_tone(container, track)


def _encode_tone(container: Any, stream: Any) -> None:
    rate = stream.rate
    samples = np.resize(tone(), round(SECONDS * rate))
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


# ---------------------------------------------------------------- reading


def look_at(path: Path) -> None:
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3


def hear(path: Path, *, start_seconds: float = 0.0, seconds: float | None = None) -> None:
    sound = read_sound(path, start_seconds=start_seconds, seconds=seconds, limits=LIMITS)
    assert np.isfinite(sound.samples).all()
    assert np.abs(sound.samples).max() <= 1
    assert sound.seconds <= LIMITS.max_sound_seconds
    assert np.isfinite(to_mono(sound)).all()


def hear_whole_and_part(path: Path) -> None:
    each(partial(hear, path), partial(hear, path, start_seconds=0.1, seconds=0.1))


def watch(path: Path) -> None:
    """As curation, preprocessing, evaluation and animation read a clip: header, packets, frames, sound."""
    each(
        partial(_watch_frames, path),
        lambda: drain(read_video(path, video_fps=VIDEO_FPS, start_seconds=0.08, seconds=0.16, limits=LIMITS)),
        lambda: scan_packets(path, limits=LIMITS),
        lambda: drain(read_key_frames(path, every_seconds=0.1, limits=LIMITS)),
        partial(_hear_if_any, path),
    )


def _watch_frames(path: Path) -> None:
    info = probe_video(path, limits=LIMITS)
    assert 0 <= info.seconds <= LIMITS.max_video_seconds
    assert info.video_fps > 0
    for frame in read_video(path, limits=LIMITS):
        assert frame.shape == (info.height, info.width, 3)


def _hear_if_any(path: Path) -> None:
    if probe_video(path, limits=LIMITS).has_sound:
        hear(path)


def pick_frames(path: Path) -> None:
    """As training reads the clips of samples: by number."""
    with SeekableVideo(path, key_frame_every=4, limits=LIMITS) as video:
        assert video.read([5, 0, 7, 3]).shape[0] == 4


def probe(path: Path) -> None:
    measured = measure_probe(Part(path, 0.04, None, LIMITS))
    assert 0 <= measured["readable_share"] <= 1


def make_inputs(folder: Path) -> None:
    make_image(folder, kind="png")
    make_video(folder, kind="h264.mp4")
    make_sound(folder, kind="wav")


def plan_animation(path: Path) -> None:
    """Everything that `megactor animate` reads before it loads a model."""
    folder = path.parent
    config = AnimateConfig(
        reference=folder / "RGB.png",
        driving=folder / "h264.mp4",
        audio=folder / "tone.wav",
        output=folder.parent / "out.mp4",
        limits=LIMITS,
    )
    job = plan(config)
    each(lambda: read_image(job.reference, limits=LIMITS), job.input_hashes)


def _parser(name: str, inputs: int, make: Callable[..., None], read: Callable[[Path], object]) -> Parser:
    kind = name.split()[-1]
    return Parser(name, inputs, partial(make, kind=kind), read)


PARSERS = (
    *(_parser(f"image {kind}", 110, make_image, look_at) for kind in IMAGES),
    *(_parser(f"sound {kind}", 110, make_sound, hear_whole_and_part) for kind in ("flac", *SOUNDS)),
    *(_parser(f"video {kind}", 110, make_video, watch) for kind in VIDEOS),
    _parser("frames by number h264.mp4", 70, make_video, pick_frames),
    _parser("probe of curate h264.mp4", 70, make_video, probe),
    Parser("inputs of animate", 100, make_inputs, plan_animation, is_folder=True),
)
