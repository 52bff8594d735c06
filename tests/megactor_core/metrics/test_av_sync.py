"""Lips against sound: a known offset is found, whatever the picture's size and the sound's level; and where
nothing can be said, that is said.

The talkers here are a drawn mouth and a buzz through two formants that follow it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, sosfilt

from megactor_core.faces.headpose import HEAD_CM, RIGID_POINTS
from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.media.audio import Sound, read_sound, to_mono
from megactor_core.media.video import read_video
from megactor_core.media.video_writer import VideoWriter
from megactor_core.metrics.av_sync import AVSync, av_sync, measure_av_sync
from megactor_core.synthetic.face import FaceRenderer
from megactor_core.synthetic.identity import draw_identity
from megactor_core.synthetic.motion import perform

HZ = 16_000
FPS = 25.0
SPARE_FRAMES = 20
TRACK_HZ = 200


@dataclass(frozen=True)
class Talk:
    """points (F + 2 * SPARE_FRAMES, 68, 2) and the sound of just as long, in sync."""

    points: np.ndarray
    sound: np.ndarray

    def clip(self, *, offset: int = 0, frames: int = 75, fps: float = FPS) -> tuple[np.ndarray, np.ndarray]:
        """The middle of it, the sound `offset` frames early: lips at frame i go with sound at i - offset."""
        first = SPARE_FRAMES
        samples = slice(round(first / fps * HZ), round((first + frames) / fps * HZ))
        return self.points[first - offset : first - offset + frames], self.sound[samples]


def talk(seed: int, *, frames: int = 75, fps: float = FPS) -> Talk:
    rng = np.random.default_rng([seed, 4])
    total = frames + 2 * SPARE_FRAMES
    moments = np.arange(round(total / fps * TRACK_HZ) + 1) / TRACK_HZ
    opening = np.clip(0.45 + 0.35 * _wobble(len(moments), rng), 0, 1)
    width = 0.5 * _wobble(len(moments), rng)
    at = (np.arange(total) + 0.5) / fps
    mouth = np.interp(at, moments, opening), np.interp(at, moments, width)
    points = faces(*mouth) + rng.normal(0, 0.15, (total, 68, 2))
    return Talk(points.astype(np.float32), _buzz(moments, opening, width, round(total / fps * HZ), rng))


def _wobble(count: int, rng: np.random.Generator) -> np.ndarray:
    """Some five movements a second, of standard deviation 1."""
    track = gaussian_filter1d(rng.normal(size=count), 0.04 * TRACK_HZ)
    return np.asarray(track / track.std())


def faces(opening: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Frontal faces of about 200 pixels: opening and width (F,) -> (F, 68, 2)."""
    points = np.zeros((len(opening), 68, 2))
    points[:, list(RIGID_POINTS)] = HEAD_CM[:, :2]
    half = 2.5 + 0.4 * width
    gap = 1.2 * opening
    for start, thickness, row in ((48, 0.7, 7), (60, 0.0, 5)):
        for i, share in enumerate(np.linspace(-1, 1, row)):
            arch = (thickness + gap / 2) * np.sqrt(1 - share**2)
            points[:, start + i] = np.stack([share * half, 4.5 - arch], axis=-1)
            if 0 < i < row - 1:
                points[:, start + 2 * (row - 1) - i] = np.stack([share * half, 4.5 + arch], axis=-1)
    return points * 12 + 128


def _buzz(
    moments: np.ndarray, opening: np.ndarray, width: np.ndarray, samples: int, rng: np.random.Generator
) -> np.ndarray:
    def at_samples(track: np.ndarray) -> np.ndarray:
        return np.interp(np.arange(samples) / HZ, moments, track)

    sound = 0.003 * rng.normal(size=samples)
    formants = ((at_samples(300 + 500 * opening), 90), (at_samples(1500 + 700 * width), 140))
    for harmonic in range(1, 30):
        hz = 120.0 * harmonic
        gain = sum(1 / (1 + ((hz - centre) / bandwidth) ** 2) for centre, bandwidth in formants)
        sound += gain / harmonic**0.5 * np.sin(2 * np.pi * hz * np.arange(samples) / HZ)
    return (0.1 * sound * at_samples(0.1 + opening)).astype(np.float32)


TALKS = {seed: talk(seed) for seed in range(4)}


def sync(clip: tuple[np.ndarray, np.ndarray], *, fps: float = FPS, reach: int = 15) -> AVSync:
    return av_sync(*clip, video_fps=fps, max_offset_frames=reach)


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize("seed", TALKS)
def test_what_belongs_together_is_found_at_0(seed: int) -> None:
    found = sync(TALKS[seed].clip())
    assert found.offset_frames == 0
    assert found.offset_seconds == 0
    assert found.correlation == found.curve.max() == found.curve[15] > 0.4
    assert found.margin is not None
    assert 0 < found.margin < found.correlation + 1
    assert found.is_clear
    assert found.reason is None


@given(seed=st.sampled_from(sorted(TALKS)), offset=st.integers(-14, 14))
@settings(max_examples=30)
def test_early_sound_has_a_positive_offset(seed: int, offset: int) -> None:
    found = sync(TALKS[seed].clip(offset=offset))
    assert found.offset_frames == offset
    assert found.is_clear


@pytest.mark.parametrize("fps", [12.5, 24000 / 1001, 30.0, 60.0])
def test_other_rates(fps: float) -> None:
    spoken = talk(9, frames=round(3 * fps), fps=fps)
    for offset in (-5, 0, 6):
        found = sync(spoken.clip(offset=offset, frames=round(3 * fps), fps=fps), fps=fps)
        assert found.offset_frames is not None
        assert abs(found.offset_frames - offset) <= 1
        assert found.offset_seconds == pytest.approx(found.offset_frames / fps)


@given(
    scale=st.floats(0.1, 20),
    x=st.floats(-500, 500),
    y=st.floats(-500, 500),
    gain=st.floats(0.05, 1),
    seed=st.sampled_from(sorted(TALKS)),
)
@settings(max_examples=20)
def test_size_and_place_of_the_face_and_level_of_the_sound_change_nothing(
    scale: float, x: float, y: float, gain: float, seed: int
) -> None:
    points, sound = TALKS[seed].clip(offset=3)
    moved = sync((scale * points.astype(np.float64) + [x, y], np.float32(gain) * sound))
    np.testing.assert_allclose(moved.curve, sync((points, sound)).curve, atol=1e-3)


def test_lost_faces_are_left_out() -> None:
    points, sound = TALKS[1].clip(offset=-4)
    points = points.copy()
    points[[*range(20, 29), 50, 51, 70]] = np.nan
    found = sync((points, sound))
    assert found.offset_frames == -4
    assert np.isfinite(found.curve).all()


def test_the_face_at_rest_counts_for_nothing_beside_gaps_either() -> None:
    points, sound = TALKS[1].clip()
    points = points.astype(np.float64)
    points[[*range(20, 29), 50, 51, 70]] = np.nan
    thicker = points.copy()
    thicker[:, 55:60, 1] += 30
    np.testing.assert_allclose(sync((thicker, sound)).curve, sync((points, sound)).curve, atol=0.005)


def test_only_the_sound_near_the_picture_counts() -> None:
    points, sound = TALKS[2].clip(offset=2)
    long = TALKS[2].sound[round(SPARE_FRAMES / FPS * HZ) :]
    after = np.concatenate([long[: 90 * 640], 0.3 * np.ones(HZ * 600, np.float32)])
    assert sync((points, after)).curve.tolist() == sync((points, long[: 90 * 640])).curve.tolist()
    assert sync((points, after)).offset_frames == sync((points, sound)).offset_frames == 2


def _in_noise(sound: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(3).normal(size=len(sound))
    return (sound + noise * sound.std() * 10 ** (-10 / 20)).astype(np.float32)


def _by_telephone(sound: np.ndarray) -> np.ndarray:
    band = butter(6, [300, 3400], "band", fs=HZ, output="sos")
    return np.asarray(sosfilt(band, sound), dtype=np.float32)


@pytest.mark.parametrize("damage", [_in_noise, _by_telephone])
@pytest.mark.parametrize("offset", [-7, 0, 5])
def test_noise_and_telephones_move_nothing(damage: Callable[[np.ndarray], np.ndarray], offset: int) -> None:
    points, sound = TALKS[3].clip(offset=offset)
    assert sync((points, damage(sound))).offset_frames == offset


def test_a_stranger_is_not_clearly_in_sync() -> None:
    clear = [sync((TALKS[a].clip()[0], TALKS[b].clip()[1])).is_clear for a in TALKS for b in TALKS if a != b]
    assert sum(clear) <= 2
    assert all(sync(TALKS[a].clip()).is_clear for a in TALKS)


# ---------------------------------------------------------------- what cannot be found


def assert_undetermined(found: AVSync, reason: str) -> None:
    assert found.reason == reason
    assert found.offset_frames is found.offset_seconds is found.correlation is found.margin is None
    assert found.confidence == 0
    assert not found.is_clear
    assert np.isnan(found.curve).all()
    assert found.curve.shape == (31,)


@pytest.mark.parametrize("sound", [np.zeros(48000), np.full(48000, 0.5), np.zeros(0), np.ones(1)])
def test_silence(sound: np.ndarray) -> None:
    assert_undetermined(sync((TALKS[0].clip()[0], sound.astype(np.float32))), "silent")


@pytest.mark.parametrize("turning", [0.0, 0.3])
def test_a_still_mouth_even_on_a_moving_head(turning: float) -> None:
    _, sound = TALKS[0].clip()
    points = faces(np.full(75, 0.2), np.zeros(75)) + np.random.default_rng(0).normal(0, 0.15, (75, 68, 2))
    lean = turning * np.sin(np.arange(75) / 8)
    turns = np.stack([np.cos(lean), -np.sin(lean), np.sin(lean), np.cos(lean)], axis=-1).reshape(75, 2, 2)
    assert_undetermined(sync((points @ turns + np.arange(75)[:, None, None], sound)), "still mouth")


def test_nobody() -> None:
    points, sound = TALKS[0].clip()
    assert_undetermined(sync((np.full_like(points, np.nan), sound)), "no face")
    assert_undetermined(sync((points[:0], sound)), "no face")


def test_too_little() -> None:
    points, sound = TALKS[0].clip()
    assert_undetermined(sync((points[:39], sound[: 39 * 640])), "too short")
    assert sync((points[:40], sound[: 40 * 640])).reason is None
    assert_undetermined(sync((points, sound[: 39 * 640])), "too short")
    hidden = points.copy()
    hidden[10:50] = np.nan
    assert_undetermined(sync((hidden, sound)), "too short")
    assert sync((points[:39], sound[: 39 * 640]), reach=14).reason is None


@given(
    frames=st.integers(0, 60),
    samples=st.integers(0, 40_000),
    fps=st.floats(1, 120),
    reach=st.integers(0, 20),
    lost=st.floats(0, 1),
    level=st.sampled_from([0.0, 1e-30, 1e-3, 1.0]),
    seed=st.integers(0, 100),
)
def test_nothing_of_a_valid_shape_fails(
    frames: int, samples: int, fps: float, reach: int, lost: float, level: float, seed: int
) -> None:
    rng = np.random.default_rng([seed, 5])
    points = rng.normal(100, 10, (frames, 68, 2)).astype(np.float32)
    points[rng.random(frames) < lost] = np.nan
    sound = (level * rng.uniform(-1, 1, samples)).astype(np.float32)
    found = av_sync(points, sound, video_fps=fps, max_offset_frames=reach)
    assert found.curve.shape == (2 * reach + 1,)
    assert (found.reason is None) == (found.offset_frames is not None) == np.isfinite(found.curve).all()
    assert found.confidence >= 0


def test_two_frames_that_agree_are_no_proof() -> None:
    rng = np.random.default_rng(2)
    noise = np.repeat([0.1, 0.6, 0.2], HZ) * rng.normal(size=3 * HZ)
    found = av_sync(
        rng.normal(100, 30, (2, 68, 2)), noise.astype(np.float32), video_fps=1, max_offset_frames=0
    )
    assert found.reason is None
    assert np.isfinite(found.curve).all()
    assert np.isfinite(found.confidence)


@pytest.mark.parametrize("kind", ["tone", "clicks", "steps"])
def test_odd_sounds_give_no_warnings(kind: str) -> None:
    sound = {
        "tone": np.sin(np.arange(48000) / 5),
        "clicks": (np.arange(48000) % 30000 == 29000).astype(float),
        "steps": np.repeat([0.5, -0.5, 0.5], 16000),
    }[kind]
    found = sync((TALKS[0].clip()[0], sound.astype(np.float32)))
    assert found.offset_frames is not None
    assert np.isfinite(found.curve).all()


# ---------------------------------------------------------------- files


def test_a_video_without_sound(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "mute.mp4", video_fps=Fraction(25), width=64, height=64) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
    assert_undetermined(measure_av_sync(tmp_path / "mute.mp4"), "no sound")


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "offset"), [(1, 0), (2, -6), (3, 4)])
def test_coded_clips_with_found_landmarks(seed: int, offset: int, tmp_path: Path) -> None:
    person, lead = draw_identity(seed), 8
    performance, speech = perform(person, seconds=3 + 2 * lead / 25, video_fps=Fraction(25), seed=seed)
    sound = speech.samples[(lead + offset) * 640 : (lead + offset + 75) * 640]
    renderer = FaceRenderer(person, size_px=256)
    path = tmp_path / "clip.mp4"
    with VideoWriter(
        path, video_fps=Fraction(25), width=256, height=256, sound=Sound(sound[:, np.newaxis], HZ)
    ) as writer:
        for frame in range(lead, lead + 75):
            writer.write(renderer.render(performance.state(frame)).image)
    found = measure_av_sync(path)
    assert found.offset_frames is not None
    assert abs(found.offset_frames - offset) <= 1
    assert found.is_clear


REAL = {
    "latentsync_demo1_video.mp4": 0,
    "megactor_audio_CHTF_2.mp4": -5,
    "megactor_audio_ENTF_1.mp4": -3,
    "mochabench/1_man_guitar.mp4": 0,
    "mochabench/4_man_reading.mp4": 0,
}
"""Offsets in frames at 25 fps. Of MoCha's two, SyncNet's published value; of the others, what several ways to
compare mouth and sound agree on."""


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_real_talkers_and_their_sound_moved(name: str, real_data: Path) -> None:
    path = real_data / "driving" / name
    points = detect_landmarks(read_video(path, video_fps=Fraction(25))).points
    sound = to_mono(read_sound(path))
    found = sync((points, sound))
    assert found.offset_frames is not None
    assert abs(found.offset_frames - REAL[name]) <= 1
    early, late = sound[5 * 640 :], np.concatenate([np.zeros(5 * 640, np.float32), sound])
    for moved, by in ((early, 5), (late, -5)):
        shifted = sync((points, moved)).offset_frames
        assert shifted is not None
        assert abs(shifted - found.offset_frames - by) <= 1
