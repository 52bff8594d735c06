"""How each damage moves each metric that needs no downloaded network: a Markdown table.

    OMP_NUM_THREADS=1 python tests/benchmarks/degradations.py [CLIPS]

Synthetic talkers (3, or CLIPS of them; 256 pixels, 3 s at 25 frames a second) stand for the real clips, and
damaged versions of them for the generated ones. Landmarks are those of the default back end, of the damaged
pictures too. Rows are damages, columns metrics, cells means over the clips. A second table shows what the
measures of the controls read of heads whose motion was scaled by known factors, and of eyes and mouths that
were changed alone. Below is what was expected to move and did not, and what moved that should have stayed;
then the exit code is 1.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import cv2
import numpy as np

from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.metrics.av_sync import AUDIO_HZ, av_sync
from megactor_core.metrics.control import alpha_response, audio_scale_response, cross_talk
from megactor_core.metrics.geometry import FaceMeasures, compare_faces
from megactor_core.metrics.motion import FlickerMeter, measure_motion
from megactor_core.metrics.niqe import niqe
from megactor_core.metrics.picture import ms_ssim, psnr, ssim
from megactor_core.metrics.statistics import mean_decibels
from megactor_core.synthetic.face import FaceRenderer
from megactor_core.synthetic.identity import Identity, draw_identity
from megactor_core.synthetic.motion import perform
from megactor_core.synthetic.state import TRACKS, Performance

SIZE_PX = 256
VIDEO_FPS = Fraction(25)
SECONDS = 3
NIQE_EVERY = 15
"""Frames from one whose NIQE is taken to the next; it is slow."""
SEED = 40

FACTORS = (0.0, 0.5, 1.0, 1.5)
"""By which motion is scaled to see whether the measures of the controls find it."""
OPENING_CHANGES = {"eyes alone": (0.0, 0.01), "eyes and mouth": (0.015, 1.0)}
"""Between which the change of the mouth's opening should lie; the detector's own is 0.003."""
POSE = ("yaw_degrees", "pitch_degrees", "roll_degrees", "shift_x", "shift_y", "scale")
MOUTH = ("mouth_open", "mouth_wide", "smile")
EYES = ("eye_open", "gaze_x", "gaze_y", "brow")


@dataclass(frozen=True)
class Clip:
    """What is measured: frames (F, S, S, 3) uint8 and sound (N,), and how they were made."""

    frames: np.ndarray
    sound: np.ndarray
    person: Identity
    performance: Performance


def film(person: Identity, performance: Performance) -> np.ndarray:
    """The frames of a person who performs."""
    renderer = FaceRenderer(person, size_px=SIZE_PX)
    return np.stack([renderer.render(performance.state(i)).image for i in range(len(performance))])


def talker(number: int) -> Clip:
    """The clip of a seed."""
    person = draw_identity(SEED + number)
    performance, speech = perform(person, seconds=SECONDS, video_fps=VIDEO_FPS, seed=SEED + number)
    return Clip(film(person, performance), speech.samples, person, performance)


# ---------------------------------------------------------------- damages


def each_frame(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Clip], Clip]:
    """The damage that changes every frame by itself."""
    return lambda clip: replace(clip, frames=np.stack([change(frame) for frame in clip.frames]))


def blurred(sigma_px: float) -> Callable[[Clip], Clip]:
    return each_frame(lambda frame: cv2.GaussianBlur(frame, (0, 0), sigma_px))


def noisy(deviation: float) -> Callable[[Clip], Clip]:
    """White noise, another in every frame."""

    def add(clip: Clip) -> Clip:
        noise = np.random.default_rng([SEED, 1]).normal(0, deviation, clip.frames.shape)
        return replace(clip, frames=np.clip(np.rint(clip.frames + noise), 0, 255).astype(np.uint8))

    return add


def as_jpeg(quality: int) -> Callable[[Clip], Clip]:
    def code(frame: np.ndarray) -> np.ndarray:
        _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return cv2.imdecode(data, cv2.IMREAD_COLOR)

    return each_frame(code)


def small(size_px: int) -> Callable[[Clip], Clip]:
    def shrink(frame: np.ndarray) -> np.ndarray:
        low = cv2.resize(frame, (size_px, size_px), interpolation=cv2.INTER_AREA)
        return cv2.resize(low, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_CUBIC)

    return each_frame(shrink)


def flickering(levels: int) -> Callable[[Clip], Clip]:
    """Every second frame brighter."""

    def brighten(clip: Clip) -> Clip:
        frames = clip.frames.astype(np.int16)
        frames[::2] += levels
        return replace(clip, frames=np.clip(frames, 0, 255).astype(np.uint8))

    return brighten


def shaking(reach_px: int) -> Callable[[Clip], Clip]:
    """The whole picture moved at random by up to so many pixels, another way in every frame."""

    def shake(clip: Clip) -> Clip:
        ways = np.random.default_rng([SEED, 2]).integers(-reach_px, reach_px + 1, (len(clip.frames), 2))
        moved = [
            cv2.warpAffine(
                frame,
                np.array([[1, 0, x], [0, 1, y]], dtype=np.float64),
                (SIZE_PX, SIZE_PX),
                borderMode=cv2.BORDER_REPLICATE,
            )
            for frame, (x, y) in zip(clip.frames, ways, strict=True)
        ]
        return replace(clip, frames=np.stack(moved))

    return shake


def every_second_frame(clip: Clip) -> Clip:
    """Each second frame replaced by the one before it."""
    return replace(clip, frames=clip.frames[np.arange(len(clip.frames)) // 2 * 2])


def sound_later(frames: int) -> Callable[[Clip], Clip]:
    """The sound later by so many frames; negative is earlier."""

    def shift(clip: Clip) -> Clip:
        samples = round(abs(frames) / VIDEO_FPS * AUDIO_HZ)
        quiet = np.zeros(samples, np.float32)
        if frames > 0:
            return replace(clip, sound=np.concatenate([quiet, clip.sound])[: len(clip.sound)])
        return replace(clip, sound=np.concatenate([clip.sound[samples:], quiet]))

    return shift


def frozen(tracks: tuple[str, ...]) -> Callable[[Clip], Clip]:
    """The same performance, but these tracks stay as they are in the first frame."""
    return scaled(tracks, 0.0)


def scaled(tracks: tuple[str, ...], factor: float) -> Callable[[Clip], Clip]:
    """The same performance, but these tracks go so many times as far from where they are at first."""

    def perform_otherwise(clip: Clip) -> Clip:
        columns = [TRACKS.index(name) for name in tracks]
        states = clip.performance.tracks.copy()
        states[:, columns] = states[0, columns] + factor * (states[:, columns] - states[0, columns])
        performance = Performance(states, clip.performance.video_fps)
        return replace(clip, frames=film(clip.person, performance), performance=performance)

    return perform_otherwise


def other_person(clip: Clip) -> Clip:
    """Somebody else performs the same."""
    person = draw_identity(SEED + 1000)
    return replace(clip, frames=film(person, clip.performance), person=person)


DAMAGES: dict[str, Callable[[Clip], Clip]] = {
    "none": lambda clip: clip,
    "blur, sigma 1.5 px": blurred(1.5),
    "blur, sigma 3 px": blurred(3),
    "noise, deviation 5": noisy(5),
    "noise, deviation 15": noisy(15),
    "JPEG, quality 10": as_jpeg(10),
    "64 px, enlarged": small(64),
    "flicker, 4 levels": flickering(4),
    "shake, 2 px": shaking(2),
    "every 2nd frame": every_second_frame,
    "sound 5 frames late": sound_later(5),
    "sound 5 frames early": sound_later(-5),
    "frozen mouth": frozen(MOUTH),
    "frozen eyes": frozen(EYES),
    "frozen head": frozen(POSE),
    "other person": other_person,
}


# ---------------------------------------------------------------- metrics

FORMATS = {
    "PSNR, dB": "{:.1f}",
    "SSIM": "{:.3f}",
    "MS-SSIM": "{:.3f}",
    "NIQE": "{:.1f}",
    "face": "{:.3f}",
    "mouth": "{:.3f}",
    "mouth LMD, px": "{:.2f}",
    "pose, degrees": "{:.1f}",
    "eyes": "{:.3f}",
    "r eyes": "{:.2f}",
    "opening": "{:.3f}",
    "r opening": "{:.2f}",
    "amplitude": "{:.2f}",
    "jitter": "{:.4f}",
    "flicker": "{:.2f}",
    "AV offset": "{:+.1f}",
    "AV r": "{:.2f}",
}
"""The columns and how they are printed."""
IDEAL = {
    **{"PSNR, dB": np.inf, "SSIM": 1.0, "MS-SSIM": 1.0, "face": 0.0, "mouth": 0.0, "mouth LMD, px": 0.0},
    **{"pose, degrees": 0.0, "eyes": 0.0, "r eyes": 1.0, "opening": 0.0, "r opening": 1.0, "amplitude": 1.0},
}
"""What equal clips have, exactly. The others describe the damaged clip by itself."""
PICTURE = ("PSNR, dB", "SSIM", "MS-SSIM")

WORSE: dict[str, tuple[str, ...]] = {
    **{name: PICTURE for name in DAMAGES if name.startswith(("blur", "noise", "JPEG", "64 px", "flicker"))},
    "noise, deviation 15": (*PICTURE, "jitter", "flicker", "face", "NIQE"),
    "flicker, 4 levels": ("PSNR, dB", "flicker"),
    "shake, 2 px": (*PICTURE, "face", "jitter"),
    "every 2nd frame": (*PICTURE, "face", "jitter"),
    "frozen mouth": ("mouth", "mouth LMD, px", "opening", "r opening", "amplitude", "AV r"),
    "frozen eyes": ("eyes", "r eyes"),
    "frozen head": ("face", "pose, degrees"),
    "other person": (*PICTURE, "face", "mouth", "mouth LMD, px", "pose, degrees", "eyes", "opening"),
}
"""What each damage must make worse than it is without; no AV r at all is worse than any."""
STEPS = (("blur, sigma 1.5 px", "blur, sigma 3 px"), ("noise, deviation 5", "noise, deviation 15"))
"""Mild and strong forms of one damage."""
HIGHER_IS_BETTER = {*PICTURE, "r eyes", "r opening", "amplitude", "AV r"}


def measure(real: Clip, real_faces: FaceMeasures, damaged: Clip) -> dict[str, float]:
    """All numbers of one damaged clip against the real one."""
    faces = real_faces if damaged.frames is real.frames else find_faces(damaged)
    errors = compare_faces(real_faces, faces)
    meter = FlickerMeter()
    for frame in damaged.frames:
        meter.add(frame)
    sync = av_sync(faces.points, damaged.sound, video_fps=float(VIDEO_FPS))
    return {
        "PSNR, dB": mean_decibels(psnr(real.frames, damaged.frames)),
        "SSIM": float(ssim(real.frames, damaged.frames).mean()),
        "MS-SSIM": float(ms_ssim(real.frames, damaged.frames).mean()),
        "NIQE": float(niqe(damaged.frames[::NIQE_EVERY]).mean()),
        "face": errors.face,
        "mouth": errors.mouth,
        "mouth LMD, px": errors.mouth_lmd_px,
        "pose, degrees": errors.pose_degrees,
        "eyes": errors.eyes_open,
        "r eyes": errors.eyes_open_correlation,
        "opening": errors.mouth_open,
        "r opening": errors.mouth_open_correlation,
        "amplitude": errors.mouth_amplitude_ratio,
        "jitter": measure_motion(faces).jitter,
        "flicker": meter.mean(),
        "AV offset": np.nan if sync.offset_frames is None else sync.offset_frames,
        "AV r": np.nan if sync.correlation is None else sync.correlation,
    }


def table(rows: dict[str, dict[str, float]]) -> Iterator[str]:
    """The table's lines; what cannot be taken is a dash."""
    yield "| damage | " + " | ".join(FORMATS) + " |"
    yield "|---" * (1 + len(FORMATS)) + "|"
    for name, row in rows.items():
        cells = ["-" if np.isnan(row[key]) else shape.format(row[key]) for key, shape in FORMATS.items()]
        yield f"| {name} | " + " | ".join(cells) + " |"


def surprises(rows: dict[str, dict[str, float]]) -> Iterator[str]:
    """What the rows have that they should not have."""
    untouched = rows["none"]
    for metric, ideal in IDEAL.items():
        if untouched[metric] != ideal:
            yield f"equal clips: {metric} is {untouched[metric]}, not {ideal}"
    for name, metrics in WORSE.items():
        for metric in metrics:
            value, before = rows[name][metric], untouched[metric]
            worse = value < before if metric in HIGHER_IS_BETTER else value > before
            if not (worse or (metric == "AV r" and np.isnan(value))):
                yield f"{name}: {metric} is {value}, no worse than {before}"
    for mild, strong in STEPS:
        for metric in PICTURE:
            if not rows[strong][metric] < rows[mild][metric]:
                yield f"{metric} finds {strong} no worse than {mild}"
    for name, offset in (("sound 5 frames late", -5), ("sound 5 frames early", 5)):
        moved = rows[name]["AV offset"] - untouched["AV offset"]
        if abs(moved - offset) > 0.5:
            yield f"{name}: the offset moved by {moved}, not {offset}"
        for metric in set(FORMATS) - {"AV offset", "AV r"}:
            if rows[name][metric] != untouched[metric]:
                yield f"{name}: {metric} is {rows[name][metric]}, it should have stayed {untouched[metric]}"


# ---------------------------------------------------------------- controls


def control_rows(clips: list[Clip], faces: list[FaceMeasures]) -> Iterator[tuple[str, float, float, float]]:
    """Of each measure its mean, and between which values it should lie."""
    alphas = [alpha_response(FACTORS, faces_scaled(clip, POSE)) for clip in clips]
    yield "roll slope over alpha, head scaled by alpha", mean(r.roll_slope for r in alphas), 0.8, 1.2
    yield "shift slope over alpha, head scaled by alpha", mean(r.shift_slope for r in alphas), 0.9, 1.1
    deaf = [alpha_response(FACTORS, [seen] * len(FACTORS)) for seen in faces]
    yield "shift slope over alpha, head not scaled", mean(r.shift_slope for r in deaf), -1e-9, 1e-9
    scales = [audio_scale_response(FACTORS, faces_scaled(clip, ("mouth_open",))) for clip in clips]
    yield "monotonicity over audio_scale, mouth scaled", mean(r.monotonicity for r in scales), 0.79, 1
    yield "ratio of amplitudes, mouth scaled from 0 to 1.5", mean(r.ratio for r in scales), 3, np.inf
    for what, tracks, least, most in (
        ("eyes alone", EYES, 0.0, 0.0),
        ("eyes and mouth", EYES + MOUTH, 0.5, np.inf),
    ):
        talks = []
        for clip, seen in zip(clips, faces, strict=True):
            changed = frozen(tracks)(clip)
            talks.append(cross_talk(clip.frames, changed.frames, first=seen, second=find_faces(changed)))
        yield f"leak ratio, {what} changed", mean(talk.leak_ratio for talk in talks), least, most
        openings = mean(talk.mouth_open_change for talk in talks)
        yield f"change of the opening, {what} changed", openings, *OPENING_CHANGES[what]


def faces_scaled(clip: Clip, tracks: tuple[str, ...]) -> list[FaceMeasures]:
    """The faces of a clip whose tracks are scaled by each of the factors."""
    return [find_faces(scaled(tracks, factor)(clip)) for factor in FACTORS]


def find_faces(clip: Clip) -> FaceMeasures:
    """The faces of a clip."""
    return FaceMeasures.of_track(detect_landmarks(clip.frames))


def mean(values: Iterable[float]) -> float:
    """The mean; NaN where one is."""
    return float(np.mean(list(values)))


def main() -> int:
    cv2.setNumThreads(1)
    clips = [talker(number) for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)]
    faces = [find_faces(clip) for clip in clips]
    rows = {}
    for name, damage in DAMAGES.items():
        measured = [measure(clip, seen, damage(clip)) for clip, seen in zip(clips, faces, strict=True)]
        rows[name] = {key: float(np.mean([row[key] for row in measured])) for key in FORMATS}
    for line in table(rows):
        sys.stdout.write(line + "\n")
    found = list(surprises(rows))
    sys.stdout.write("\n| measure of a control | value |\n|---|---|\n")
    for name, value, least, most in control_rows(clips, faces):
        sys.stdout.write(f"| {name} | {value:.3f} |\n")
        if not least <= value <= most:
            found.append(f"{name} is {value}, not between {least} and {most}")
    sys.stdout.writelines(f"\nUnexpected: {line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
