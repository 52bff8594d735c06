"""A training sample on disk: its files, their shapes, how they are written and read, and the index of many.

```
DIR/index.parquet            a row a source clip, see IndexRow
DIR/samples/<sample_id>/
    sample.json              SampleFacts
    video.mp4                the face crop, S x S, at a constant rate, with a key frame every few frames
    sound.flac               16 kHz mono, exactly as long as the picture; absent without sound
    arrays.safetensors       SampleArrays
    audio.safetensors        `states` (T, L, E) float16 of Whisper, or `log_mel` (80, J) float16
    latents.safetensors      optional: `mean` and `logvar` (F, C, h, w) float16, unscaled moments
    driver.mp4               optional: the user's own driver in the same crop, frame by frame
```

Shape legend:
    F frames   S side in pixels   n frames asked for   T Whisper states at 50 Hz   L states a step   E width
    J log-mel frames at 100 Hz   C latent channels   h = w = S / 8
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from megactor_core.config.splits import Split
from megactor_core.errors import MediaError
from megactor_core.files import atomic_path, disk_errors, read_json, read_table, write_json
from megactor_core.media.seekable import SeekableVideo

FORMAT: Final = 1
"""Of sample.json; a reader refuses another."""

MAX_FPS: Final = 1000
"""More than any camera's rate; what a file claims beyond it is no rate (ours)."""

INDEX, SAMPLES = "index.parquet", "samples"
FACTS, VIDEO, DRIVER, SOUND = "sample.json", "video.mp4", "driver.mp4", "sound.flac"
ARRAYS, AUDIO, LATENTS = "arrays.safetensors", "audio.safetensors", "latents.safetensors"

Status = Literal["ok", "rejected", "error"]
AudioFeatures = Literal["whisper", "log-mel"]

_PREPROCESS_AGAIN: Final = "Remove its folder and run `megactor preprocess` again."


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """One source clip in index.parquet; what is not known of a clip that is no sample is None."""

    sample_id: str
    identity: str
    split: Split
    source_uri: str
    """The clip's path as the source gives it; bytes that are no text are shown as \\xNN."""
    start_s: float | None = None
    """Where the clip begins in its source, in seconds; None: at its beginning."""
    end_s: float | None = None
    status: Status
    reason: str | None = None
    """Why it is no sample, in words."""
    error_kind: str | None = None
    """The class of the error, for status `error`."""
    path: str | None = None
    """The sample's folder, relative to the index; only where status is `ok`."""
    has_audio: bool | None = None
    """Whether there is a sound that is heard; a clip without sound is a sample for visual modes."""
    frames: int | None = None
    video_fps: float | None = None
    size_px: int | None = None
    seconds: float | None = None
    source_width: int | None = None
    source_height: int | None = None
    source_fps: float | None = None
    faces_max: int | None = None
    """The most faces that a frame shows."""
    lost_frames: int | None = None
    """Frames in which the followed face was not found."""
    yaw_abs_mean_degrees: float | None = None
    audio_features: AudioFeatures | None = None
    has_latents: bool | None = None
    has_driver: bool | None = None
    bytes: int | None = None
    """Of all the sample's files."""
    cpu_seconds: float | None = None
    """What this row took; the only column that differs from one run to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFacts:
    """sample.json: what a sample is and where it came from."""

    sample_id: str
    identity: str
    split: Split
    source_uri: str
    start_s: float | None
    end_s: float | None
    frames: int
    video_fps: str
    """Exact: 25 or 30000/1001."""
    size_px: int
    source_width: int
    source_height: int
    source_fps: float
    crop_x: float
    """Left edge of the crop square in source pixels (edges, not pixel centres; see faces.crop.SquareCrop)."""
    crop_y: float
    crop_side: float
    faces_max: int
    lost_frames: int
    damaged_packets: int
    """Packets of the source that could not be decoded; the frame before each was held."""
    yaw_abs_mean_degrees: float | None
    has_audio: bool
    sound: Literal["heard", "silent", "none", "unreadable"]
    """What became of the clip's sound: silent and unreadable ones are left out."""
    audio_features: AudioFeatures | None
    has_latents: bool
    has_driver: bool
    gop_frames: int
    """Most frames from one key frame of the videos to the next."""
    landmarks: str
    """The back end that found the points."""
    source_hash: str
    """Of the size, the head and the tail of the source file."""
    versions: dict[str, str]
    """Of megactor and of every stage."""
    format: int = FORMAT

    @property
    def rate(self) -> Fraction:
        """Frames a second, exactly."""
        return Fraction(self.video_fps)

    @property
    def seconds(self) -> float:
        """The length of the sample."""
        return float(self.frames / self.rate)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SampleArrays:
    """arrays.safetensors: the face of every frame, in pixels of the crop (whole numbers at pixel centres)."""

    points: np.ndarray
    """(F, 68, 2) float32, iBUG-68; where the face was lost, filled in from the frames around."""
    found: np.ndarray
    """(F,) bool: False where the points are filled in."""
    pose: np.ndarray
    """(F, 3) float32: yaw, pitch, roll in degrees, measured in the source frame; NaN where unmeasurable."""
    regions: np.ndarray
    """(F, 3, 4) float32: the points' own boxes x0, y0, x1, y1 of side A, side B (brow and eye) and mouth."""
    motion: np.ndarray
    """(F, 2, 3) float32: the rigid similarity from frame 0's face to each frame's, eq. 4's M."""


class Sample:
    """One sample, read lazily: opening it reads sample.json alone, and arrays when they are first asked for.

    Every accessor raises MediaError where a file of the sample is missing or damaged.
    """

    def __init__(self, folder: Path, facts: SampleFacts) -> None:
        self.folder = folder
        self.facts = facts

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a sample's folder; raises MediaError where it is none, or of another format."""
        return cls(folder, read_facts(folder))

    @property
    def frames(self) -> int:
        """F."""
        return self.facts.frames

    def read_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Frames by number, in the order asked for, as (n, S, S, 3) uint8 RGB; decodes only what it needs."""
        return self._read(VIDEO, indices)

    def read_driver_frames(self, indices: Sequence[int]) -> np.ndarray:
        """The same of the user's own driver; raises MediaError where the sample has none."""
        return self._read(DRIVER, indices)

    @cached_property
    def arrays(self) -> SampleArrays:
        """All arrays of the face."""
        return SampleArrays(**self._tensors(ARRAYS, [field.name for field in fields(SampleArrays)]))

    @property
    def points(self) -> np.ndarray:
        """(F, 68, 2) float32."""
        return self.arrays.points

    @property
    def found(self) -> np.ndarray:
        """(F,) bool."""
        return self.arrays.found

    @property
    def pose(self) -> np.ndarray:
        """(F, 3) float32 degrees."""
        return self.arrays.pose

    @property
    def regions(self) -> np.ndarray:
        """(F, 3, 4) float32."""
        return self.arrays.regions

    @property
    def motion(self) -> np.ndarray:
        """(F, 2, 3) float32."""
        return self.arrays.motion

    @cached_property
    def log_mel(self) -> np.ndarray:
        """(80, J) float16 at 100 Hz; raises MediaError where the sample has other features or no sound."""
        return self._tensors(AUDIO, ["log_mel"])["log_mel"]

    @cached_property
    def whisper_states(self) -> np.ndarray:
        """(T, L, E) float16 at 50 Hz; raises MediaError where the sample has other features or no sound."""
        return self._tensors(AUDIO, ["states"])["states"]

    def sound(self) -> np.ndarray:
        """Mono sound at 16 kHz, (N,) float32 in [-1, 1]; raises MediaError where the sample has none."""
        path = self._require(SOUND)
        try:
            return np.asarray(soundfile.read(path, dtype="float32")[0])
        except soundfile.LibsndfileError as error:
            raise _damaged(path, str(error)) from None

    def latents(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Unscaled mean and log variance of frames by number: (n, C, h, w) float16 each."""
        path = self._require(LATENTS)
        self._require_inside(indices)
        try:
            with safe_open(path, framework="numpy") as file:
                mean, logvar = (file.get_slice(name) for name in ("mean", "logvar"))
                return (
                    np.concatenate([mean[index : index + 1] for index in indices]),
                    np.concatenate([logvar[index : index + 1] for index in indices]),
                )
        except (SafetensorError, OSError) as error:
            raise _damaged(path, str(error)) from None

    def _read(self, name: str, indices: Sequence[int]) -> np.ndarray:
        self._require_inside(indices)
        with SeekableVideo(self._require(name), key_frame_every=self.facts.gop_frames) as video:
            return video.read(indices)

    def _tensors(self, name: str, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        path = self._require(name)
        try:
            with safe_open(path, framework="numpy") as file:
                if absent := sorted(set(wanted) - set(file.keys())):
                    raise MediaError(
                        f"'{path}' holds {', '.join(file.keys())}, not {', '.join(absent)}.",
                        fix="Preprocess with the audio features that the model reads."
                        if name == AUDIO
                        else _PREPROCESS_AGAIN,
                    )
                return {key: file.get_tensor(key) for key in wanted}
        except (SafetensorError, OSError) as error:
            raise _damaged(path, str(error)) from None

    def _require(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise MediaError(f"The sample '{self.folder}' has no {name}.", fix=_PREPROCESS_AGAIN)
        return path

    def _require_inside(self, indices: Sequence[int]) -> None:
        outside = [index for index in indices if not 0 <= index < self.frames]
        if outside:
            raise ValueError(f"frame {outside[0]} of {self.folder}: it has frames 0 to {self.frames - 1}")


# ---------------------------------------------------------------- writing a sample


def write_facts(folder: Path, facts: SampleFacts) -> None:
    """Write sample.json."""
    write_json(folder / FACTS, facts.to_json())


def read_facts(folder: Path) -> SampleFacts:
    """Read sample.json; raises MediaError where it is missing, damaged or of another format."""
    path = folder / FACTS
    try:
        found = read_json(path)
        if found["format"] != FORMAT:
            raise MediaError(
                f"'{path}' has format {found['format']}; this version reads {FORMAT}.",
                fix="Run `megactor preprocess` again, into a new folder.",
            )
        return _checked_facts(found)
    except OSError as error:
        raise MediaError(
            f"'{folder}' is no sample: {FACTS} cannot be read ({error.strerror}).", fix=_PREPROCESS_AGAIN
        ) from None
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise _damaged(path, str(error)) from None


def _checked_facts(found: dict[str, Any]) -> SampleFacts:
    """Facts of the right types that can be true; raises ValueError, TypeError, ArithmeticError."""
    SampleFacts(**found)  # refuses unknown names, which the check of types passes over
    facts = _FACTS_TYPE.validate_python(found)
    if facts.frames < 1 or facts.gop_frames < 1 or not 0 < facts.rate <= MAX_FPS:
        raise ValueError(
            f"{facts.frames} frames, {facts.gop_frames} to a key frame, {facts.video_fps} a second"
        )
    return facts


def write_arrays(folder: Path, arrays: SampleArrays) -> None:
    """Write arrays.safetensors."""
    values = {field.name: np.ascontiguousarray(getattr(arrays, field.name)) for field in fields(SampleArrays)}
    with disk_errors(folder / ARRAYS):
        save_file(values, folder / ARRAYS)


def read_arrays(folder: Path) -> SampleArrays:
    """The arrays of a sample that is still being made, without its sample.json; raises MediaError."""
    path = folder / ARRAYS
    try:
        return SampleArrays(**load_file(path))
    except (SafetensorError, OSError, TypeError) as error:
        raise _damaged(path, str(error)) from None


def write_sound(folder: Path, samples: np.ndarray, *, audio_hz: int) -> None:
    """Write sound.flac from mono samples (N,) float32 in [-1, 1], 16 bits each."""
    soundfile.write(folder / SOUND, samples, audio_hz, subtype="PCM_16", format="FLAC")


def write_audio_features(folder: Path, features: AudioFeatures, values: np.ndarray) -> None:
    """Write audio.safetensors: Whisper's states (T, L, E), or a log-mel spectrogram (80, J), as float16."""
    name = "states" if features == "whisper" else "log_mel"
    with disk_errors(folder / AUDIO):
        save_file({name: np.ascontiguousarray(values, dtype=np.float16)}, folder / AUDIO)


def create_latents(folder: Path, *, shape: tuple[int, int, int, int]) -> tuple[np.memmap, np.memmap]:
    """Make latents.safetensors for F frames, and return `mean` and `logvar` (F, C, h, w) float16 to fill in.

    The arrays live in the file, so that memory does not grow with the clip; flush them when done.
    """
    array_bytes = math.prod(shape) * np.dtype(np.float16).itemsize
    header = json.dumps(
        {
            name: {"dtype": "F16", "shape": shape, "data_offsets": [start, start + array_bytes]}
            for name, start in (("logvar", 0), ("mean", array_bytes))
        }
    ).encode()
    header += b" " * (-len(header) % 8)
    begin = 8 + len(header)
    path = folder / LATENTS
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(begin + 2 * array_bytes)
    logvar, mean = (
        np.memmap(path, dtype=np.float16, mode="r+", offset=begin + part * array_bytes, shape=shape)
        for part in (0, 1)
    )
    return mean, logvar


# ---------------------------------------------------------------- the index


def write_index(folder: Path, rows: Iterable[IndexRow]) -> None:
    """Write index.parquet, sorted by sample_id."""
    ordered = sorted(rows, key=lambda row: row.sample_id)
    columns = {name: [getattr(row, name) for row in ordered] for name in INDEX_SCHEMA.names}
    with atomic_path(folder / INDEX) as temporary:
        pq.write_table(pa.table(columns, schema=INDEX_SCHEMA), temporary, compression="zstd")


def read_index(folder: Path) -> list[IndexRow]:
    """The rows of index.parquet; raises MediaError where it is missing or no index."""
    path = folder / INDEX
    try:
        table = read_table(path, columns=INDEX_SCHEMA.names)
        rows = [_INDEX_ROW_TYPE.validate_python(row) for row in table.to_pylist()]
    except FileNotFoundError:
        raise MediaError(
            f"There is no {INDEX} in '{folder}'.",
            fix="Make it with `megactor preprocess SOURCE --output DIR`.",
        ) from None
    except (OSError, ValueError, OverflowError) as error:
        raise _damaged(path, str(error)) from None
    if outside := next((row.path for row in rows if not _is_inside(row.path)), None):
        raise _damaged(path, f"a row leads out of the folder, to '{outside}'")
    return rows


def _is_inside(path: str | None) -> bool:
    """Whether a sample's path stays in the folder of the index, as every index is written."""
    return path is None or not (Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path)


_FACTS_TYPE: Final = TypeAdapter(SampleFacts)
_INDEX_ROW_TYPE: Final = TypeAdapter(IndexRow)


def _schema() -> pa.Schema:
    """The columns of IndexRow, with its types."""
    types = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}

    def column(hint: Any) -> pa.DataType:
        plain = [part for part in get_args(hint) or (hint,) if part is not type(None)]
        return types.get(plain[0], types[str])

    return pa.schema([(name, column(hint)) for name, hint in get_type_hints(IndexRow).items()])


INDEX_SCHEMA: Final = _schema()


def _damaged(path: Path, why: str) -> MediaError:
    reason = (why.splitlines() or ["unreadable"])[0].rstrip(".")
    return MediaError(f"'{path}' is damaged ({reason}).", fix=_PREPROCESS_AGAIN)
