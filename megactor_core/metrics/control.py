"""Whether the drivers' controls do what they say: audio strength, head amplitude, eyes that leave the mouth.

The measures of this project, not of the paper, which claims the controls and shows pictures. Each compares
clips of the same portrait, drivers and seed that differ in nothing but the control.

Shape legend:
    K clips, a strength each   F frames   S side of the picture in pixels
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import numpy as np

from megactor_core.errors import MetricError
from megactor_core.faces.amplitude import face_centre, rigid_similarity, transform_points
from megactor_core.faces.regions import driving_masks, region_boxes
from megactor_core.metrics.frames import require_pair
from megactor_core.metrics.geometry import FaceMeasures, outer_eye_distance_px
from megactor_core.metrics.motion import head_turn_degrees, luma, mouth_amplitude
from megactor_core.metrics.statistics import (
    joint_deviation,
    mean_of_known,
    rank_correlation,
    ratio,
    require_equal_lengths,
)

BOX_PADDING: Final = 0.75
"""Half a box in multiples of its points' extent: the tight patch of the release [R]."""


@dataclass(frozen=True, slots=True)
class AudioScaleResponse:
    """How far the mouth moves at each weight of the audio's attention (eq. 3)."""

    scales: np.ndarray
    """(K,) in rising order."""
    mouth_amplitudes: np.ndarray
    """(K,) standard deviation of the mouth's opening, in outer eye distances; NaN without a face."""
    monotonicity: float
    """Spearman's correlation of scale and amplitude: 1 where every step up moves the mouth more."""
    ratio: float
    """The amplitude at the largest scale over that at the smallest; 1 where the scale does nothing."""


@dataclass(frozen=True, slots=True)
class AlphaResponse:
    """How far the head moves at each amplitude (eq. 4), which scales roll and shift, not yaw and pitch."""

    alphas: np.ndarray
    """(K,) in rising order."""
    rolls_degrees: np.ndarray
    """(K,) standard deviation over time of the face's turn in the picture."""
    shifts: np.ndarray
    """(K,) standard deviation over time of the place of the face's middle, x and y together, in outer eye
    distances."""
    head_turns_degrees: np.ndarray
    """(K,) standard deviation of yaw, pitch and roll together, for comparison."""
    roll_gains: np.ndarray
    """(K,) how many times the roll of alpha 1 is in that of each clip, frame by frame: the least-squares
    factor. Exact control has the alphas themselves; chance shaking adds to the deviations, but not here."""
    shift_gains: np.ndarray
    """(K,) the same of the shift."""
    roll_slope: float
    """Of the gain over alpha, a straight line by least squares: 1 where the control is exact, 0 where it does
    nothing; NaN where the head does not turn at alpha 1."""
    shift_slope: float
    """The same of the shift."""
    monotonicity: float
    """Spearman's correlation of alpha and the shift's gain."""


@dataclass(frozen=True, slots=True)
class CrossTalk:
    """What two clips that differ only in the driver's eye patches differ in; NaN without a face in both."""

    eyes_change: float
    """Mean absolute difference of luma in the boxes of eyes and brows, in grey levels of 0..255."""
    mouth_change: float
    """The same in the mouth's box."""
    leak_ratio: float
    """Mouth over eyes: 0 where the mouth keeps out of it, 1 where it changes as much; NaN for equal clips."""
    eyes_open_change: float
    """Mean absolute difference of the eyes' height over width."""
    mouth_open_change: float
    """Mean absolute difference of the gap between the inner lips, in outer eye distances."""
    compared_frames: int
    """Frames with a face in both."""


def audio_scale_response(scales: Sequence[float], clips: Sequence[FaceMeasures]) -> AudioScaleResponse:
    """The mouth's amplitude in clips of one portrait and one set of drivers at K audio scales.

    Raises MetricError for fewer than two scales, a scale that comes twice, or unequal numbers of both.
    """
    ordered, clips = _in_rising_order(scales, clips, name="audio_scale")
    amplitudes = np.array([mouth_amplitude(faces) for faces in clips])
    return AudioScaleResponse(
        scales=ordered,
        mouth_amplitudes=amplitudes,
        monotonicity=rank_correlation(ordered, amplitudes),
        ratio=ratio(float(amplitudes[-1]), float(amplitudes[0])),
    )


def alpha_response(alphas: Sequence[float], clips: Sequence[FaceMeasures]) -> AlphaResponse:
    """The head's amplitude in clips of one portrait and one set of drivers at K amplitudes, 1 among them.

    The head's motion is taken as eq. (4) takes it: the similarity that best maps the face of the clip's first
    frame to each frame's.
    Raises MetricError for fewer than two amplitudes, one that comes twice, unequal numbers of both, clips of
    unequal lengths, and where alpha 1 is not among them.
    """
    ordered, clips = _in_rising_order(alphas, clips, name="alpha")
    if 1 not in ordered:
        raise MetricError(
            f"The amplitudes are {', '.join(f'{alpha:g}' for alpha in ordered)}, without 1, the unit.",
            fix="Measure a clip of alpha 1 too.",
        )
    unit = clips[int(np.flatnonzero(ordered == 1)[0])]
    for faces in clips:
        require_equal_lengths(unit.found, faces.found, of="frames at two values of alpha")
    rolls, shifts = zip(*(_head_motion(faces.points) for faces in clips), strict=True)
    unit_roll, unit_shift = _head_motion(unit.points)
    roll_gains = np.array([_gain(roll, unit_roll) for roll in rolls])
    shift_gains = np.array([_gain(shift, unit_shift) for shift in shifts])
    return AlphaResponse(
        alphas=ordered,
        rolls_degrees=np.array([joint_deviation(roll) for roll in rolls]),
        shifts=np.array([joint_deviation(shift) for shift in shifts]),
        head_turns_degrees=np.array([head_turn_degrees(faces) for faces in clips]),
        roll_gains=roll_gains,
        shift_gains=shift_gains,
        roll_slope=_slope(ordered, roll_gains),
        shift_slope=_slope(ordered, shift_gains),
        monotonicity=rank_correlation(ordered, shift_gains),
    )


def cross_talk(
    first_frames: Iterable[np.ndarray],
    second_frames: Iterable[np.ndarray],
    *,
    first: FaceMeasures,
    second: FaceMeasures,
) -> CrossTalk:
    """How much the mouth moves when only the eyes change: two clips of (S, S, 3) uint8 RGB frames.

    Both are read once, frame by frame. Boxes lie about the mean of both clips' landmarks, the eyes' without
    the mouth's pixels. Frames in which either face was lost are left out.
    Raises MetricError where frames are of another kind or not square, or where numbers or sizes differ.
    """
    _require_same_clip(first, second)
    points = (first.points.astype(np.float64) + second.points) / 2
    changes = np.full((len(first), 2), np.nan)
    for index, (a, b) in enumerate(_frame_pairs(first_frames, second_frames, faces=first)):
        difference = np.abs(luma(a) - luma(b))
        eyes, mouth = _region_masks(points[index], size_px=len(a))
        changes[index] = mean_of_known(difference[eyes]), mean_of_known(difference[mouth])
    eyes_change, mouth_change = (mean_of_known(region) for region in changes.T)
    return CrossTalk(
        eyes_change=eyes_change,
        mouth_change=mouth_change,
        leak_ratio=ratio(mouth_change, eyes_change),
        eyes_open_change=_mean_change(first.openings.eyes_open, second.openings.eyes_open),
        mouth_open_change=_mean_change(first.openings.mouth_open, second.openings.mouth_open),
        compared_frames=int((first.found & second.found).sum()),
    )


def _in_rising_order(
    strengths: Sequence[float], clips: Sequence[FaceMeasures], *, name: str
) -> tuple[np.ndarray, list[FaceMeasures]]:
    """Strengths (K,) and their clips, weakest first."""
    if len(strengths) != len(clips) or len(set(strengths)) != len(strengths) or len(strengths) < 2:
        raise MetricError(
            f"There are {len(clips)} clips for the values of {name} "
            f"{', '.join(f'{strength:g}' for strength in strengths) or '(none)'}.",
            fix="Give two or more different values, and a clip each.",
        )
    order = np.argsort(strengths)
    return np.asarray(strengths, dtype=np.float64)[order], [clips[index] for index in order]


def _head_motion(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How a face (F, 68, 2) is turned in the picture, (F, 1) degrees; where it is, (F, 2) eye distances."""
    roll_degrees, shift = np.full((len(points), 1), np.nan), np.full((len(points), 2), np.nan)
    found = np.isfinite(points).all(axis=(1, 2))
    eye_px = outer_eye_distance_px(points[found])
    if np.isnan(eye_px):  # no face, or one that is a single point
        return roll_degrees, shift
    first = points[found][0]
    motion = rigid_similarity(first, points[found])
    roll_degrees[found, 0] = np.degrees(np.unwrap(np.arctan2(motion[:, 1, 0], motion[:, 0, 0])))
    shift[found] = transform_points(motion, face_centre(first)[np.newaxis])[:, 0] / eye_px
    return roll_degrees, shift


def _gain(track: np.ndarray, unit: np.ndarray) -> float:
    """The factor by which `unit` (F, D) comes nearest to `track`, both less their means over time."""
    known = np.isfinite(track).all(axis=1) & np.isfinite(unit).all(axis=1)
    if known.sum() < 2:
        return np.nan
    track, unit = (part[known] - part[known].mean(axis=0) for part in (track, unit))
    return ratio(float((track * unit).sum()), float((unit**2).sum()))


def _slope(strengths: np.ndarray, response: np.ndarray) -> float:
    """Of a straight line through the known points of (K,) over (K,)."""
    known = np.isfinite(response)
    if known.sum() < 2:
        return np.nan
    offsets = strengths[known] - strengths[known].mean()
    return ratio(float((offsets * response[known]).sum()), float((offsets**2).sum()))


def _require_same_clip(first: FaceMeasures, second: FaceMeasures) -> None:
    sizes = [(len(faces), faces.frame_width, faces.frame_height) for faces in (first, second)]
    if sizes[0] != sizes[1] or first.frame_width != first.frame_height:
        shown = [f"{count} frames of {width}x{height}" for count, width, height in sizes]
        raise MetricError(
            f"The faces to compare are of {shown[0]} and of {shown[1]} pixels.",
            fix="Give two clips of one length and one square size.",
        )


def _frame_pairs(
    first: Iterable[np.ndarray], second: Iterable[np.ndarray], *, faces: FaceMeasures
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The frames of both clips side by side, as many and as large as the faces were found in."""
    count = 0
    for count, (a, b) in enumerate(zip_longest(first, second), start=1):
        if a is None or b is None or count > len(faces):
            break
        require_pair(a[np.newaxis], b[np.newaxis])
        if a.shape[:2] != (faces.frame_height, faces.frame_width):
            raise MetricError(
                f"The frames have {a.shape[1]}x{a.shape[0]} pixels, but the faces were found in "
                f"{faces.frame_width}x{faces.frame_height}.",
                fix="Give the frames that the landmarks are of.",
            )
        yield a, b
    else:
        if count == len(faces):
            return
    raise MetricError(
        f"The two clips are not both of the {len(faces)} frames that faces were looked for in.",
        fix="Give the frames that the landmarks are of.",
    )


def _region_masks(points: np.ndarray, *, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of eyes and mouth, (S, S) bool each, none where points (68, 2) are NaN."""
    boxes = region_boxes(
        points[np.newaxis], size_px=size_px, shape="tight", per="frame", divisor=1, padding=BOX_PADDING
    )
    eyes, mouth = driving_masks(boxes, size_px=size_px, regions={"eyes"})
    return eyes[0], mouth[0]


def _mean_change(first: np.ndarray, second: np.ndarray) -> float:
    known = np.isfinite(first) & np.isfinite(second)
    return mean_of_known(np.abs(first[known] - second[known]))
