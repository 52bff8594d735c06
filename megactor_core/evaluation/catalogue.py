"""What is measured: every number by name, with its unit, which way is better, and what must be said of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from megactor_core.config.evaluate import MetricName

Better = Literal["lower", "higher"]
Of = Literal["clip", "set"]

FACE_METRICS: Final[frozenset[MetricName]] = frozenset({"faces", "av_sync", "motion", "sync"})
"""Those that look at landmarks."""
NETWORK_METRICS: Final[frozenset[MetricName]] = frozenset({"lpips", "fid", "fvd", "sync"})
"""Those that need public weights, by the entry of the same name in the registry (sync: syncnet)."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number. `of`: whether each clip has one, of which the mean is given, or only the set."""

    name: str
    title: str
    metric: MetricName
    better: Better | None
    """None: neither; it is read beside the same number of the real clips."""
    unit: str = ""
    of: Of = "clip"

    @property
    def arrow(self) -> str:
        """↓, ↑ or nothing."""
        return {"lower": "↓", "higher": "↑", None: ""}[self.better]


MEASURES: Final[tuple[Measure, ...]] = (
    Measure("fid", "FID", "fid", "lower", of="set"),
    Measure("fvd", "FVD", "fvd", "lower", of="set"),
    Measure("lpips", "LPIPS", "lpips", "lower"),
    Measure("sync_c", "Sync-C", "sync", "higher"),
    Measure("sync_d", "Sync-D", "sync", "lower"),
    Measure("sync_offset", "SyncNet offset", "sync", None, "frames"),
    Measure("psnr", "PSNR", "psnr", "higher", "dB"),
    Measure("ssim", "SSIM", "ssim", "higher"),
    Measure("ms_ssim", "MS-SSIM", "ms_ssim", "higher"),
    Measure("niqe", "NIQE", "niqe", "lower"),
    Measure("niqe_real", "NIQE, real clips", "niqe", None),
    Measure("face_distance", "landmark distance", "faces", "lower", "eye distances"),
    Measure("mouth_distance", "landmark distance, mouth", "faces", "lower", "eye distances"),
    Measure("face_lmd", "LMD, face", "faces", "lower", "px"),
    Measure("mouth_lmd", "LMD, mouth", "faces", "lower", "px"),
    Measure("pose_error", "head pose error", "faces", "lower", "degrees"),
    Measure("eyes_open_error", "eye opening error", "faces", "lower"),
    Measure("mouth_open_error", "mouth opening error", "faces", "lower", "eye distances"),
    Measure("eyes_open_correlation", "eye opening correlation", "faces", "higher"),
    Measure("mouth_open_correlation", "mouth opening correlation", "faces", "higher"),
    Measure("yaw_correlation", "yaw correlation", "faces", "higher"),
    Measure("mouth_amplitude_ratio", "mouth amplitude, generated over real", "faces", None),
    Measure("face_share", "frames with a face", "faces", "higher"),
    Measure("face_share_real", "frames with a face, real clips", "faces", None),
    Measure("av_correlation", "audio-visual correlation", "av_sync", "higher"),
    Measure("av_offset", "audio-visual offset, where clear", "av_sync", None, "frames"),
    Measure("av_confidence", "audio-visual confidence", "av_sync", "higher"),
    Measure("jitter", "jitter", "motion", None, "eye distances"),
    Measure("jitter_real", "jitter, real clips", "motion", None, "eye distances"),
    Measure("mouth_amplitude", "mouth amplitude", "motion", None, "eye distances"),
    Measure("mouth_amplitude_real", "mouth amplitude, real clips", "motion", None, "eye distances"),
    Measure("head_turn", "head turn", "motion", None, "degrees"),
    Measure("head_turn_real", "head turn, real clips", "motion", None, "degrees"),
    Measure("head_shift", "head shift", "motion", None, "eye distances"),
    Measure("head_shift_real", "head shift, real clips", "motion", None, "eye distances"),
    Measure("flicker", "flicker", "flicker", None, "grey levels"),
    Measure("flicker_real", "flicker, real clips", "flicker", None, "grey levels"),
)
BY_NAME: Final[dict[str, Measure]] = {measure.name: measure for measure in MEASURES}
PAPER_MEASURES: Final = ("fid", "fvd", "lpips", "sync_c", "sync_d")
"""Columns of the paper's Tables 2 and 3."""


def measures_of(metrics: Iterable[MetricName]) -> list[Measure]:
    """The numbers that these metrics give, in the order of the catalogue."""
    wanted = set(metrics)
    return [measure for measure in MEASURES if measure.metric in wanted]
