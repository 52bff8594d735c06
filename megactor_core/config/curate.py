"""The configuration of `megactor curate`: what is measured of a clip, and which clips are good enough.

Measuring and deciding are apart: `measure` says how the numbers are taken, `rules` what they must be. Rules
may change at any time and need no video. Marks: [P] paper, [R] the authors' release; no mark, ours.

The paper gives three rules (face box above 600 x 600, Sync-C above 6 and Sync-D below 8.5, mean head rotation
up to 30 degrees) and leaves open how they are measured. Each such choice is a setting here: which frames are
averaged (`measure.face_seconds`), their mean or their worst (`rules.face_statistic`), what the angle is
(`rules.rotation`), what happens with two faces (`rules.several_faces`, `measure.second_face_ratio`), which
crop and offsets SyncNet sees (`measure.track_landmarks`; offsets are SyncNet's own, 15 frames either way),
and whether sound at a wrong offset is put right or the clip dropped (`rules.wrong_offset`).
"""

from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from megactor_core.config.animate import LandmarkBackEnd
from megactor_core.config.base import Config
from megactor_core.config.engine import EngineConfig
from megactor_core.config.media import MediaLimits

GateName = Literal[
    "probe",
    "sound",
    "light_faces",
    "shots",
    "faces",
    "motion",
    "quality",
    "av_sync",
    "sync_screen",
    "sync",
]
"""Groups of measures in the order in which they are taken, cheapest first; shots come before what is measured
of faces because a clip of several shots is no clip."""
GATES: tuple[GateName, ...] = get_args(GateName)


class MeasureConfig(Config):
    """How the measures are taken; a change of a setting takes the measures anew that depend on it."""

    gates: tuple[GateName, ...] = GATES
    """Gates to take; measures of the others stay empty, and their rules are not applied."""

    floor_db: float = Field(-50.0, ge=-120, le=0)
    """Sound below this level (of full scale) is no speech."""
    light_seconds: float = Field(5.0, gt=0)
    """At most one key frame in so many seconds is looked at for the first look at faces."""
    face_seconds: float = Field(0.5, gt=0)
    """One frame in so many seconds is measured for face size, rotation, motion and sharpness: the paper does
    not say which frames are averaged."""
    landmarks: LandmarkBackEnd = "mediapipe"
    """Face detector of record, for size and rotation. The paper's is dwpose [P]."""
    missing_landmarks: Literal["fail", "mediapipe"] = "fail"
    """Where the detector of record is missing: an error that says how to get it, or MediaPipe in its place,
    named in every row."""
    track_landmarks: LandmarkBackEnd = "mediapipe"
    """Face detector of every frame, for the audio-visual check and for the crop that SyncNet sees."""
    angle_face_px: int = Field(24, ge=1)
    """Angles are measured on faces at least so wide: on smaller ones the points shake by too many degrees."""
    lips_face_px: int = Field(24, ge=1)
    """`av_sync` is taken of faces at least so wide: the lips of smaller ones open by less than a pixel."""
    second_face_ratio: float = Field(0.25, ge=0, lt=1)
    """Faces smaller than this share of the largest do not count as a second one: pictures on the wall."""
    cut_width_px: int = Field(64, ge=16, le=1024)
    """Width of the small pictures on which shots are told apart."""
    sharpness_side_px: int = Field(256, ge=32, le=2048)
    """Larger faces are shrunk to this side before their sharpness is measured, so that size matters less; so
    is the picture where there is no face."""
    niqe_frames: int = Field(3, ge=1, le=1000)
    """Frames of a clip on which NIQE is taken, evenly spread."""
    syncnet: Path | None = None
    """syncnet_v2.model in a file of your own. None: the one that `megactor weights` pulled; where there is
    none, sync is not measured."""
    screen_share: float = Field(0.25, gt=0, le=1)
    """Share of a clip's SyncNet windows, from its middle, that are looked at first."""
    held_mb: int = Field(2000, ge=0)
    """Frames of a clip that are held in memory, in megabytes, so that they are decoded once: 12 s of
    1920 x 1080. A clip with more is decoded again for `av_sync` and SyncNet. No effect on the measures."""


class RulesConfig(Config):
    """What a kept clip must be; None switches a rule off. A rule that is broken is a reason in the manifest.

    A `min` is broken by less, a `max` by more. What was not measured breaks no rule, see `not_measured`.
    """

    min_frame_px: int | None = Field(256, ge=1)
    """frame_too_small: shorter side of the picture in pixels."""
    min_seconds: float | None = Field(1.28, gt=0)
    """too_short: length of the clip; 1.28 s hold the 31 frames that stage 3 reads."""
    max_seconds: float | None = Field(None, gt=0)
    """too_long."""
    min_fps: float | None = Field(20.0, gt=0)
    """fps_too_low: frames a second of the file."""
    min_readable_share: float | None = Field(0.9, gt=0, le=1)
    """cut_off: share of the clip's length that the file really holds."""
    max_damaged_share: float | None = Field(0.1, ge=0, le=1)
    """damaged: packets that cannot be decoded, as a share of the frames."""

    require_sound: bool = True
    """no_sound: there is a sound track, and it can be decoded."""
    min_sound_db: float | None = Field(-40.0, ge=-120, le=0)
    """silent: the loudest sample, in decibels of full scale."""
    min_speech_share: float | None = Field(0.3, ge=0, le=1)
    """too_little_speech: share of the time with a voice in it, by pitch and level: without weights."""
    max_clipped_share: float | None = Field(0.01, ge=0, le=1)
    """clipped_sound: samples at full scale."""

    guard: float = Field(0.75, gt=0, le=1)
    """Guard band of the first look at faces: it rejects only what is below this share of a limit."""
    light_single_share: float | None = Field(0.5, ge=0, le=1)
    """light_no_face, light_several_faces: share of the key frames with a face, and with exactly one. None
    switches all rules of the first look off, light_face_too_small too."""

    max_shots: int | None = Field(1, ge=1)
    """several_shots."""
    cut_score: float = Field(15.0, gt=0)
    """What counts as a cut: by how much the mean change of hue, saturation and value (0 to 255 each) between
    two frames exceeds that of their neighbours."""

    min_face_px: int | None = Field(256, ge=1)
    """face_too_small: width and height of the box of the 68 landmarks, both; above 600 in the paper [P]. With
    256, a sample of 512 pixels is hardly enlarged."""
    face_statistic: Literal["mean", "p05"] = "mean"
    """Over the measured frames: their mean, or what 95 % of them exceed. The paper does not say."""
    min_square_px: int | None = Field(None, ge=1)
    """square_too_small: side of the largest square about the face with the release's margins, which 90 % of
    the measured frames must exceed; 400 in the release [R]."""
    min_single_share: float | None = Field(0.9, ge=0, le=1)
    """no_face, several_faces: share of the measured frames with a face, and with exactly one [R]."""
    several_faces: Literal["reject", "largest"] = "reject"
    """Clips that show several faces: reject them, as the release does [R], or measure the largest."""
    max_rotation_degrees: float | None = Field(30.0, ge=0, le=180)
    """head_turned: mean rotation of the head [P]."""
    rotation: Literal["magnitude", "largest", "yaw"] = "magnitude"
    """The angle: of the whole rotation, largest of yaw, pitch and roll, or yaw. Left open by the paper."""
    min_frontal_share: float | None = Field(None, ge=0, le=1)
    """not_frontal: share of the measured frames that pass the release's test of a frontal face; 0.9 in the
    release [R]."""

    max_travel: float | None = Field(None, gt=0)
    """moves_too_much: way of the face's middle across the clip, in face widths or heights, whichever is
    more; 0.4 in the release [R]."""
    min_change: float | None = Field(1.0, ge=0)
    """still_picture: change from frame to frame in grey levels of 0 to 255, of the hundredth part of the
    picture that changes most; a photograph has none."""

    min_sharpness: float | None = Field(30.0, ge=0)
    """blurred: variance of the Laplacian in grey levels, of the face, or of the picture without one."""
    max_niqe: float | None = Field(None, gt=0)
    """poor_picture: NIQE, which needs sides of 194 pixels."""

    max_av_offset_frames: int | None = Field(5, ge=0, le=15)
    """sound_off: offset of picture and sound at 25 frames a second by the check that needs no weights, where
    it is clear."""
    min_av_confidence: float = Field(1.0, ge=0)
    """Confidence from which that offset is clear: 1 is what one in twenty unrelated pairs reach."""
    min_av_gain: float = Field(0.1, ge=0, le=2)
    """By how much the correlation at that offset must exceed that of picture and sound as they are."""

    screen_guard: float = Field(2 / 3, gt=0, le=1)
    """screen_sync_c_low, screen_sync_d_high: the first share of the windows rejects a clip whose Sync-C is
    below this share of the limit (4 for the paper's 6), or whose Sync-D exceeds its limit by as much."""
    min_sync_c: float | None = Field(3.0)
    """sync_c_low: above 6 in the paper [P], 5.5 in the release [R]; 3 is LatentSync's."""
    max_sync_d: float | None = Field(None, gt=0)
    """sync_d_high: below 8.5 in the paper [P]."""
    max_sync_offset_frames: int | None = Field(5, ge=0, le=15)
    """sync_offset: SyncNet's own offset."""
    wrong_offset: Literal["reject", "correct"] = "reject"
    """Sound at a wrong offset: drop the clip, or keep it and say in `sound_shift_s` by how much the sound is
    to be moved. The paper does not say."""

    not_measured: Literal["keep", "reject"] = "keep"
    """A rule whose measure could not be taken for want of weights: leave it out, and say so, or reject."""
    duplicates: Literal["reject", "keep"] = "reject"
    """duplicate: the same file, or overlapping parts of the same source in two data sets."""


class ForecastConfig(Config):
    """How a dry run draws its sample and what it is projected to. (All values ours.)"""

    clips: int = Field(200, ge=1)
    """Clips of each data set that are measured, at most."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Which clips those are."""
    size_groups: int = Field(4, ge=1, le=100)
    """Groups by size of the file, or by length where a manifest gives it, from which clips of a data set are
    drawn evenly."""
    resamples: int = Field(1000, ge=100, le=100_000)
    """Times that the sample is drawn anew from itself for the intervals of sums (bootstrap)."""
    cores: int | None = Field(None, ge=1)
    """Cores of the machine whose time is foretold. None: one for each worker process."""
    gpus: int | None = Field(None, ge=1)
    """GPUs of that machine. None: those of this one."""


class CurateConfig(EngineConfig):
    """From raw video to a data set; None means: see the field."""

    sources: tuple[Path, ...] = ()
    """Folders of videos, or manifests. Default: every folder in data/raw."""
    output: Path = Path("data/curated")
    """Folder of the manifest."""
    audit: float = Field(0.0, ge=0, le=1)
    """Share of the clips, drawn by a hash of their names, of which everything is measured whatever breaks a
    rule: says how often cheap gates reject clips that are good."""
    audit_seed: int = Field(0, ge=0, lt=2**63)
    """Which clips those are."""
    hours: float | None = Field(None, gt=0)
    """Hours of raw video like the sources that a dry run is projected to, beside the sources themselves."""
    forecast: ForecastConfig = ForecastConfig()

    measure: MeasureConfig = MeasureConfig()
    rules: RulesConfig = RulesConfig()
    limits: MediaLimits = MediaLimits(decode_threads=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.measure.gates:
            raise ValueError(f"measure.gates is empty; choose among {', '.join(GATES)}")
        return self
