from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.config.media import MediaLimits
from megactor_core.errors import MediaError
from megactor_core.media.audio import Sound, fit_seconds, is_silent, read_sound, resample, to_mono

HZ = 16_000


def tone(seconds: float = 1.0, *, audio_hz: int = HZ, channels: int = 1) -> np.ndarray:
    t = np.arange(round(seconds * audio_hz)) / audio_hz
    gains = 0.5 / np.arange(1, channels + 1)
    return (np.sin(2 * np.pi * 440 * t)[:, None] * gains).astype(np.float32)


def encode(
    path: Path,
    *,
    codec: str = "aac",
    samples: np.ndarray | None = None,
    audio_hz: int = HZ,
    sound_from: float = 0.0,
    picture_from: float | None = None,
) -> Path:
    """A file with a sound that starts at `sound_from` and, where asked, a picture that starts elsewhere."""
    samples = tone() if samples is None else samples
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[1]]
    with av.open(str(path), "w") as container:
        picture: Any = None if picture_from is None else container.add_stream("libx264", rate=25)
        sound: Any = container.add_stream(codec, rate=audio_hz, layout=layout)
        if picture_from is not None:
            encode_picture(container, picture, begins=picture_from)
        block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        block.sample_rate, block.time_base = audio_hz, Fraction(1, audio_hz)
        block.pts = round(sound_from * audio_hz)
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    return path


def encode_picture(container: Any, stream: Any, *, begins: float) -> None:
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for index in range(25):
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        frame.pts, frame.time_base = round(begins * 25) + index, Fraction(1, 25)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def onset_seconds(sound: Sound) -> float:
    return int(np.argmax(np.abs(sound.samples[:, 0]) > 0.05)) / sound.audio_hz


@pytest.mark.parametrize(
    ("format_", "subtype", "tolerance"),
    [
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "FLOAT", 1e-7),
        ("FLAC", "PCM_16", 1e-4),
        ("OGG", "VORBIS", 0.05),
        ("OGG", "OPUS", 0.05),
        ("MP3", "MPEG_LAYER_III", 0.05),
        ("AIFF", "PCM_16", 1e-4),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_files_are_read_by_content(
    tmp_path: Path, format_: str, subtype: str, tolerance: float, channels: int
) -> None:
    path = tmp_path / "speech.txt"
    soundfile.write(path, tone(channels=channels), HZ, format=format_, subtype=subtype)
    sound = read_sound(path)
    assert (sound.audio_hz, sound.channels) == (HZ, channels)
    assert sound.samples.dtype == np.float32
    assert sound.seconds == pytest.approx(1, abs=0.1)
    middle = slice(4000, 12000)
    assert np.abs(sound.samples[middle] - tone(channels=channels)[middle]).max() < tolerance


@pytest.mark.parametrize(
    ("name", "codec", "audio_hz", "channels"),
    [
        ("a.m4a", "aac", 44100, 2),
        ("a.mp4", "aac", 8000, 1),
        ("a.mp4", "aac", 48000, 6),
        ("a.mov", "pcm_s16le", 16000, 1),
        ("a.mkv", "aac", 16000, 1),
        ("a.mkv", "flac", 16000, 2),
        ("a.webm", "libopus", 48000, 1),
        ("a.avi", "libmp3lame", 44100, 2),
        ("a.aac", "aac", 16000, 1),
    ],
)
def test_containers_keep_rate_and_channels(
    tmp_path: Path, name: str, codec: str, audio_hz: int, channels: int
) -> None:
    samples = tone(audio_hz=audio_hz, channels=channels)
    sound = read_sound(encode(tmp_path / name, codec=codec, samples=samples, audio_hz=audio_hz))
    assert (sound.audio_hz, sound.channels) == (audio_hz, channels)
    assert sound.seconds == pytest.approx(1, abs=0.15)
    loudness = sound.samples[4000:12000].std(axis=0)
    assert loudness[0] == pytest.approx(samples[:, 0].std(), rel=0.06)


def test_an_mp4_gives_back_exactly_the_samples_that_went_in(tmp_path: Path) -> None:
    samples = tone(1.2345)
    assert len(read_sound(encode(tmp_path / "a.mp4", samples=samples)).samples) == len(samples)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize(("sound_from", "picture_from"), [(0.0, 0.0), (0.48, 0.0), (0.0, 0.32), (0.2, 0.8)])
def test_time_zero_is_the_first_picture(
    tmp_path: Path, name: str, sound_from: float, picture_from: float
) -> None:
    samples = np.concatenate([np.zeros((HZ // 2, 1), np.float32), tone()])
    path = encode(tmp_path / name, samples=samples, sound_from=sound_from, picture_from=picture_from)
    onset = onset_seconds(read_sound(path))
    # AAC smears an onset over a block of 1024 samples; Matroska rounds to milliseconds.
    assert onset == pytest.approx(max(0, sound_from + 0.5 - picture_from), abs=0.025)


def test_values_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone() * 9, HZ, subtype="FLOAT")
    samples = read_sound(tmp_path / "a.wav").samples
    assert (samples.min(), samples.max()) == (-1, 1)


def test_unusable_sounds_are_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((0, 1), np.float32), HZ)
    with pytest.raises(MediaError, match="no length"):
        read_sound(path)
    soundfile.write(path, np.full((10, 1), np.nan, np.float32), HZ, subtype="FLOAT")
    with pytest.raises(MediaError, match="not numbers"):
        read_sound(path)
    soundfile.write(path, tone(2), HZ)
    for limits in (
        MediaLimits(max_sound_seconds=1),
        MediaLimits(max_sound_hz=8000),
        MediaLimits(max_sound_seconds=1.9999),
    ):
        with pytest.raises(MediaError, match="the limit is"):
            read_sound(path, limits=limits)
    with pytest.raises(MediaError, match="the limit is 1"):
        read_sound(encode(tmp_path / "a.mp4", samples=tone(2)), limits=MediaLimits(max_sound_seconds=1))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.mp4", "a.mkv", "a.aac"])
def test_damage_anywhere_never_leaks_another_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name in ("a.mp4", "a.mkv", "a.aac"):
        encode(path)
    else:
        soundfile.write(path, tone(), HZ)
    good = path.read_bytes()
    noise = np.random.default_rng(3)
    for round_ in range(40):
        content = bytearray(good)
        # Half of the rounds aim at the header, where the sizes are.
        end = len(content) if round_ % 2 else min(200, len(content))
        for place in noise.integers(0, end, 6):
            content[place] ^= int(noise.integers(1, 256))
        path.write_bytes(content[: int(noise.integers(1, len(content) + 1))])
        try:
            sound = read_sound(path, limits=MediaLimits(max_sound_seconds=60))
        except MediaError as error:
            message = str(error)
            assert str(path) in message
        else:
            assert np.isfinite(sound.samples).all()
            assert sound.samples.ndim == 2


def test_damaged_packets_leave_the_rest_in_place(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", codec="flac", samples=tone(3))
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(container.streams.audio[0]) if p.size]
    content = bytearray(path.read_bytes())
    start, size = packets[len(packets) // 2]
    assert start is not None
    content[start + 20 : start + size] = bytes(size - 20)
    path.write_bytes(content)
    sound = read_sound(path)
    assert sound.seconds == pytest.approx(3, abs=0.01)
    assert np.abs(sound.samples[-8000:] - tone(3)[-8000:]).max() < 0.01


@given(st.integers(1, 50_000), st.sampled_from([8000, 11025, 22050, 44100, 48000]))
def test_to_mono_has_the_length_of_the_sound(count: int, audio_hz: int) -> None:
    mono = to_mono(Sound(np.zeros((count, 2), np.float32), audio_hz))
    assert mono.dtype == np.float32
    assert mono.shape == (round(count / audio_hz * HZ),)


@pytest.mark.parametrize("audio_hz", [8000, 44100, 48000])
def test_to_mono_keeps_pitch_and_phase(audio_hz: int) -> None:
    mono = to_mono(Sound(tone(2, audio_hz=audio_hz, channels=1), audio_hz))
    assert np.abs(mono[1000:-1000] - tone(2)[1000:-1000, 0]).max() < 0.01


def test_to_mono_is_the_mean_of_the_channels() -> None:
    samples = np.stack([np.full(100, 0.4), np.full(100, -0.2)], axis=1).astype(np.float32)
    assert np.allclose(to_mono(Sound(samples, HZ)), 0.1)


@given(st.floats(0, 3), st.integers(0, 40_000), st.sampled_from([7350, HZ, 44100]))
def test_fit_seconds_cuts_or_pads_to_the_sample(seconds: float, count: int, audio_hz: int) -> None:
    sound = Sound(np.ones((count, 2), np.float32), audio_hz)
    fitted = fit_seconds(sound, seconds=seconds)
    wanted = round(seconds * audio_hz)
    assert fitted.samples.shape == (wanted, 2)
    assert fitted.samples[:, 0].sum() == min(count, wanted)


def test_resample_to_its_own_rate_changes_nothing() -> None:
    sound = Sound(tone(), HZ)
    assert resample(sound, audio_hz=HZ) is sound


def test_is_silent() -> None:
    assert is_silent(Sound(np.zeros((100, 2), np.float32), HZ))
    assert is_silent(Sound(np.full((100, 1), 0.3, np.float32), HZ))
    assert is_silent(Sound(tone() * 1e-3, HZ))
    assert is_silent(Sound(np.zeros((0, 1), np.float32), HZ))
    assert not is_silent(Sound(tone() * 1e-2, HZ))


@pytest.mark.real
def test_real_sounds(real_data: Path) -> None:
    facts = {
        "audio/jfk.wav": (16000, 1, 11.0),
        "audio/librispeech_5703-47212-0000.ogg": (22050, 1, 14.84),
        "audio/echomimic_en.wav": (24000, 1, 5.24),
        "driving/hdtf_sadtalker_WDA_KatieHill_000.mp4": (16000, 2, 8.0),
        "driving/mochabench/example_video.avi": (44100, 1, 5.36),
        # 10.01 s of sound, of which the picture starts after 0.85 s.
        "driving/facerec_short_hamilton_clip.mp4": (44100, 2, 9.164),
    }
    for name, (audio_hz, channels, seconds) in facts.items():
        sound = read_sound(real_data / name)
        assert (sound.audio_hz, sound.channels) == (audio_hz, channels)
        assert sound.seconds == pytest.approx(seconds, abs=0.01)
        assert not is_silent(sound)


# ---------------------------------------------------------------- a part of a sound


def rising(seconds: float = 6.0) -> np.ndarray:
    """A tone that rises, so that every moment of it differs from every other: (N, 1) float32."""
    t = np.arange(round(seconds * HZ)) / HZ
    return (0.5 * np.sin(2 * np.pi * (200 + 100 * t) * t))[:, None].astype(np.float32)


@pytest.mark.parametrize("name", ["whole.wav", "whole.m4a", "film.mp4"])
@pytest.mark.parametrize("start", [0.0, 0.5, 2.34, 4.9])
def test_a_part_is_what_the_whole_has_there(tmp_path: Path, name: str, start: float) -> None:
    path = tmp_path / name
    if name.endswith(".wav"):
        soundfile.write(path, rising(), HZ, subtype="FLOAT")
    else:
        encode(path, samples=rising(), picture_from=0.0 if name == "film.mp4" else None)
    whole = read_sound(path).samples
    part = read_sound(path, start_seconds=start, seconds=0.75).samples
    assert len(part) == round(0.75 * HZ)
    begin = round(start * HZ)
    np.testing.assert_allclose(part, whole[begin : begin + len(part)], atol=0.01)


def test_a_part_knows_when_the_picture_began(tmp_path: Path) -> None:
    path = encode(tmp_path / "late.mp4", samples=rising(), sound_from=0.5, picture_from=1.0)
    whole = read_sound(path).samples
    part = read_sound(path, start_seconds=1.5, seconds=0.5).samples
    np.testing.assert_allclose(part, whole[round(1.5 * HZ) : round(2.0 * HZ)], atol=0.01)


def test_a_part_that_reaches_over_the_end_is_as_long_as_there_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, rising(1.0), HZ)
    assert len(read_sound(path, start_seconds=0.75, seconds=1.0).samples) == HZ // 4
    with pytest.raises(MediaError, match="no length"):
        read_sound(path, start_seconds=2.0)


def test_a_sound_that_begins_some_blocks_before_the_picture_is_cut_exactly(tmp_path: Path) -> None:
    """Blocks of AAC that lie before the first picture, each shorter than what counts as a gap."""
    hz, early_seconds = 48_000, 0.08
    samples = rising(2.0)
    samples = resample(Sound(samples, HZ), audio_hz=hz).samples
    path = encode(tmp_path / "early.mkv", samples=samples, audio_hz=hz, picture_from=early_seconds)
    found = read_sound(path).samples
    begin = round(early_seconds * hz)
    assert np.abs(found[:hz] - samples[begin : begin + hz]).mean() < 0.02
