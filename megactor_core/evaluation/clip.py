"""The stage that scores a pair of clips: one decode a file, one network pass a frame, for all metrics."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, ClassVar, Final

import cv2
import numpy as np
from safetensors.numpy import load_file, save_file

from megactor_core.config.evaluate import EvaluateConfig, MetricName
from megactor_core.engine.stage import Needs, Row, WorkerContext
from megactor_core.errors import MegActorError, MetricError, first_line
from megactor_core.evaluation.badges import unbadged_from
from megactor_core.evaluation.catalogue import FACE_METRICS
from megactor_core.evaluation.face_meters import FacesMeter, FlickersMeter, MotionMeter
from megactor_core.evaluation.feature_cache import Tape, tape_path
from megactor_core.evaluation.meters import (
    AvSyncMeter,
    Block,
    FidMeter,
    Found,
    FvdMeter,
    Guarded,
    Meter,
    NiqeMeter,
    PictureMeter,
    Whole,
    lpips_meter,
    psnr_meter,
)
from megactor_core.evaluation.networks import Located, Networks, load_networks
from megactor_core.evaluation.pairing import Pair, pair_of
from megactor_core.evaluation.reading import PairReading, PairSound, read_pair_sound
from megactor_core.evaluation.strips import StripKeeper
from megactor_core.evaluation.sync_meter import SyncMeter
from megactor_core.files import atomic_path, sha256_of
from megactor_core.metrics.picture import ms_ssim, ssim

CLIP_TIMEOUT_SECONDS: Final = 4 * 3600.0
"""For one pair, whatever its length; `timeout_seconds` sets another."""
MEMORY_GB: Final = 3.0
_NAME_CHARACTERS: Final = 48
ARRAYS: Final = "clips"
"""Folder of the arrays of each pair."""
TAPE_VERSION: Final = "1"
"""Raise it when the same clip would give other features than before."""


@dataclass(slots=True)
class ScoreClips:
    """Takes all metrics of a pair.

    Writes the pair's arrays; adds the columns frames, width, height, longer, badged_seconds (left out at
    the start), sound, damaged, measures (number by name) and skipped (reason by metric).
    """

    name: ClassVar[str] = "score"

    config: EvaluateConfig
    metrics: tuple[MetricName, ...]
    located: Located
    folder: Path
    version: str
    needs: Needs
    _networks: Networks = field(default_factory=Networks, init=False, repr=False)

    def setup(self, worker: WorkerContext) -> None:
        """Load the networks; raises WeightsError."""
        if parent_process() is not None:
            cv2.setNumThreads(worker.threads)
        self._networks = load_networks(self.located, device=worker.device)

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each pair."""
        for row in batch:
            facts, arrays = self.score(pair_of(row))
            write_arrays(self.folder, row["row_id"], arrays)
            yield {**row, **facts}

    def score(self, pair: Pair) -> tuple[Row, dict[str, np.ndarray]]:
        """The columns and arrays of a pair; raises MediaError where a clip cannot be read."""
        start_seconds = unbadged_from(pair, limits=self.config.limits)
        tapes = self._tapes(pair, start_seconds)
        wants_faces = not FACE_METRICS.isdisjoint(self.metrics)
        reading = PairReading(pair, self.config, wants_faces, tapes["points"], start_seconds)
        meters = [Guarded(meter) for meter in self._meters(tapes)]
        strip = StripKeeper()
        for block in reading.blocks():
            _feed(meters, block)
            strip.add(block)
        sound = self._sound(pair, start_seconds)
        found = [(meter, meter.finish(_whole(reading, sound))) for meter in meters]
        for kind in ("niqe", "fid", "fvd"):
            tapes[kind].save(whole=reading.real_is_whole)
        facts = {
            "frames": reading.frames,
            "width": reading.width,
            "height": reading.height,
            "longer": reading.longer,
            "badged_seconds": start_seconds,
            "sound": sound.source,
            "damaged": dict(reading.damaged),
            "measures": {name: value for _, part in found for name, value in part.values.items()},
            "skipped": {meter.meter.metric: meter.reason for meter in meters if meter.reason is not None},
        }
        return facts, _arrays(reading, [part for _, part in found]) | strip.arrays()

    def _meters(self, tapes: Mapping[str, Tape]) -> Iterator[Meter]:
        for metric in self.metrics:
            yield self._meter(metric, tapes)

    def _meter(self, metric: MetricName, tapes: Mapping[str, Tape]) -> Meter:
        networks = self._networks
        match metric:
            case "psnr":
                return psnr_meter()
            case "ssim":
                return PictureMeter("ssim", ssim)
            case "ms_ssim":
                return PictureMeter("ms_ssim", ms_ssim)
            case "niqe":
                return NiqeMeter(tapes["niqe"])
            case "av_sync":
                return AvSyncMeter(self.config)
            case "faces":
                return FacesMeter()
            case "motion":
                return MotionMeter()
            case "flicker":
                return FlickersMeter()
            case "lpips" if networks.lpips is not None:
                return lpips_meter(networks.lpips)
            case "fid" if networks.fid is not None:
                return FidMeter(networks.fid, self.config, tapes["fid"])
            case "fvd" if networks.fvd is not None:
                return FvdMeter(networks.fvd, self.config, tapes["fvd"])
            case "sync" if networks.sync is not None:
                return SyncMeter(networks.sync)
            case _:
                raise MegActorError(f"The metric '{metric}' was not set up.")

    def _sound(self, pair: Pair, start_seconds: float) -> PairSound:
        if {"av_sync", "sync"}.isdisjoint(self.metrics):
            return PairSound(None, None, "No metric asks for it.")
        return read_pair_sound(pair, self.config, start_seconds=start_seconds)

    def _tapes(self, pair: Pair, start_seconds: float) -> dict[str, Tape]:
        transforms = self._transforms(pair, start_seconds)
        if not self.config.cache_features or not transforms:
            return {kind: Tape() for kind in ("points", "niqe", "fid", "fvd")}
        sha256 = sha256_of(pair.real) if pair.real.is_file() else ""
        return {
            kind: Tape(tape_path(sha256, transforms[kind]) if sha256 and kind in transforms else None)
            for kind in ("points", "niqe", "fid", "fvd")
        }

    def _transforms(self, pair: Pair, start_seconds: float) -> dict[str, dict[str, str]]:
        """What the real clip's features of each wanted kind depend on, beside the file."""
        config = self.config
        common = {"version": TAPE_VERSION, "fps": str(config.fps), "size": str(pair.size or config.size)}
        if start_seconds:
            common["start_seconds"] = str(start_seconds)
        kinds: dict[str, dict[str, str]] = {}
        if not FACE_METRICS.isdisjoint(self.metrics):
            kinds["points"] = {**common, "kind": "points", "by": config.landmarks}
        if "niqe" in self.metrics:
            kinds["niqe"] = {**common, "kind": "niqe"}
        if "fid" in self.located:
            by = f"{self.located['fid'].sha256} {config.fid_preprocessing}"
            kinds["fid"] = {**common, "kind": "fid", "by": by}
        if "fvd" in self.located:
            by = f"{self.located['fvd'].sha256} {config.fvd_preprocessing} {config.fvd_frames}"
            kinds["fvd"] = {**common, "kind": "fvd", "by": by}
        return kinds


def _feed(meters: list[Guarded], block: Block) -> None:
    for meter in meters:
        meter.add(block)


def _whole(reading: PairReading, sound: PairSound) -> Whole:
    return Whole(
        frames=reading.frames,
        width=reading.width,
        height=reading.height,
        real_points=reading.points("real"),
        generated_points=reading.points("generated"),
        sound=sound.samples,
        no_sound=sound.reason,
    )


def _arrays(reading: PairReading, found: list[Found]) -> dict[str, np.ndarray]:
    arrays = {name: values for part in found for name, values in part.arrays.items()}
    for side in ("real", "generated"):
        points = reading.points("real" if side == "real" else "generated")
        if points is not None:
            arrays[f"points_{side}"] = points
    return arrays


# ---------------------------------------------------------------- the arrays of a pair


def arrays_path(folder: Path, name: str) -> Path:
    """Where the arrays of the pair of that name lie."""
    return folder / ARRAYS / f"{_file_name(name)}.safetensors"


def write_arrays(folder: Path, name: str, arrays: dict[str, np.ndarray]) -> None:
    """Keep a pair's arrays: a value a frame of each metric, landmarks, features for the set, and a strip."""
    with atomic_path(arrays_path(folder, name)) as temporary:
        save_file({key: np.ascontiguousarray(values) for key, values in arrays.items()}, temporary)


def read_arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    """A pair's arrays by name; raises MetricError where they are missing or damaged."""
    path = arrays_path(folder, name)
    try:
        arrays: dict[str, Any] = load_file(path)
    except Exception as error:
        raise MetricError(
            f"'{path}' cannot be read ({first_line(error)}).",
            fix="Remove it and run the command again.",
        ) from None
    return arrays


def _file_name(name: str) -> str:
    """A name that people recognise and a hash that keeps it unique."""
    digest = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:_NAME_CHARACTERS].lstrip(".")
    return f"{readable}-{digest}"
