"""What is measured of a clip: every measure with its gate, its unit and its kind, in the manifest's order.

A measure that was not taken is None: its gate was not reached, the clip has nothing to measure it on, or
weights are missing. Measures are plain numbers, so that a journal keeps them and decisions need no video.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from megactor_core.config.curate import GateName

Kind = Literal["whole", "number", "flag", "text", "numbers"]
Measures = Mapping[str, Any]
"""Name -> value; None or absent where it was not taken."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of the manifest."""

    name: str
    gate: GateName
    kind: Kind
    unit: str
    """px, s, dB, degrees, frames, share; empty for text and pure numbers."""
    meaning: str


def _group(gate: GateName, *columns: tuple[str, Kind, str, str]) -> tuple[Measure, ...]:
    return tuple(Measure(name, gate, kind, unit, meaning) for name, kind, unit, meaning in columns)


MEASURES: Final[tuple[Measure, ...]] = (
    *_group(
        "probe",
        ("width", "whole", "px", "of the picture as a player shows it"),
        ("height", "whole", "px", "likewise"),
        ("video_fps", "number", "1/s", "mean rate by the header"),
        ("seconds", "number", "s", "length of the clip, or of the part that a manifest names"),
        ("readable_share", "number", "share", "of that length that the file holds, by its packets"),
        ("codec", "text", "", "of the picture"),
        ("container", "text", "", "FFmpeg's name of the format"),
        ("has_sound", "flag", "", "whether there is a sound track"),
        ("file_bytes", "whole", "B", "size of the file"),
    ),
    *_group(
        "sound",
        ("sound_state", "text", "", "heard, none or unreadable"),
        ("sound_peak_db", "number", "dB", "loudest sample, of full scale"),
        ("sound_level_db", "number", "dB", "root mean square, of full scale"),
        ("clipped_share", "number", "share", "of the samples at full scale"),
        ("speech_share", "number", "share", "of the time with a voice, by pitch and level"),
    ),
    *_group(
        "light_faces",
        ("light_frames", "whole", "frames", "key frames looked at"),
        ("light_face_share", "number", "share", "of them with a face"),
        ("light_single_share", "number", "share", "of them with exactly one"),
        ("light_face_px", "number", "px", "shorter side of the largest face's box, median"),
    ),
    *_group(
        "shots",
        ("frames", "whole", "frames", "decoded, at 25 a second"),
        ("damaged_share", "number", "share", "of the packets that cannot be decoded, over the frames"),
        ("cut_scores", "numbers", "", "largest jumps from frame to frame, descending; 255 at most"),
        ("cut_seconds", "numbers", "s", "when they happen"),
        ("change", "number", "", "from frame to frame in grey levels, of the 1 % that changes most"),
    ),
    *_group(
        "faces",
        ("face_method", "text", "", "detector of record"),
        ("face_frames", "whole", "frames", "looked at"),
        ("face_share", "number", "share", "of them with a face"),
        ("single_share", "number", "share", "of them with exactly one"),
        ("faces_max", "whole", "", "most faces in one of them"),
        ("face_width_mean", "number", "px", "of the 68 points' box"),
        ("face_height_mean", "number", "px", "likewise"),
        ("face_width_p05", "number", "px", "95 % of the frames exceed it"),
        ("face_height_p05", "number", "px", "likewise"),
        ("square_p10", "number", "px", "release's square about the face; 0 without exactly one face"),
        ("yaw_mean", "number", "degrees", "mean of its absolute value"),
        ("pitch_mean", "number", "degrees", "likewise"),
        ("roll_mean", "number", "degrees", "likewise"),
        ("rotation_largest_mean", "number", "degrees", "mean of the largest of the three"),
        ("rotation_magnitude_mean", "number", "degrees", "mean angle of the whole rotation"),
        ("rotation_magnitude_p95", "number", "degrees", "5 % of the frames exceed it"),
        ("frontal_share", "number", "share", "of the frames that pass the release's test"),
    ),
    *_group(
        "motion",
        ("travel", "number", "", "way of the face's middle, in face widths or heights"),
        ("speed", "number", "1/s", "mean speed of the face's middle, in face widths or heights"),
    ),
    *_group(
        "quality",
        (
            "sharpness",
            "number",
            "",
            "variance of the Laplacian of the face, or of the picture without one; median",
        ),
        ("niqe", "number", "", "mean over a few frames; lower is better"),
    ),
    *_group(
        "av_sync",
        ("av_offset_frames", "whole", "frames", "of 1/25 s; positive is sound too early"),
        ("av_confidence", "number", "", "1 is what one in twenty unrelated pairs reach"),
        ("av_correlation", "number", "", "of mouth and sound at that offset"),
        ("av_gain", "number", "", "by how much that exceeds the best of 2 frames either way"),
        ("mouth_amplitude", "number", "", "deviation of the mouth's opening, in eye distances"),
        ("tracked_share", "number", "share", "of all frames in which the face was followed"),
    ),
    *_group(
        "sync_screen",
        ("screen_sync_c", "number", "", "Sync-C of the first share of the windows"),
        ("screen_sync_d", "number", "", "Sync-D likewise"),
        ("screen_offset_frames", "whole", "frames", "positive is sound too early"),
        ("screen_windows", "whole", "", "windows of lips that were embedded"),
    ),
    *_group(
        "sync",
        ("sync_c", "number", "", "Sync-C; higher is better"),
        ("sync_d", "number", "", "Sync-D; lower is better"),
        ("sync_offset_frames", "whole", "frames", "positive is sound too early"),
        ("sync_windows", "whole", "", "windows of the clip"),
        ("sync_crop", "text", "", "what SyncNet looked at"),
    ),
)

NAMES: Final = tuple(measure.name for measure in MEASURES)
GATE_OF: Final[Mapping[str, GateName]] = {measure.name: measure.gate for measure in MEASURES}


def of_gate(gate: GateName) -> tuple[str, ...]:
    """The names of a gate's measures."""
    return tuple(measure.name for measure in MEASURES if measure.gate == gate)
