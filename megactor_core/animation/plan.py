"""What one animation will do, settled and checked before anything heavy is loaded or written."""

from dataclasses import dataclass
from pathlib import Path

from megactor_core.animation.output_paths import OutputPaths, plan_outputs
from megactor_core.config.animate import AnimateConfig, MaskMode, Region
from megactor_core.errors import MediaError, UsageError
from megactor_core.files import sha256_of
from megactor_core.media.apart import probe_video, read_sound
from megactor_core.media.audio import Sound
from megactor_core.media.video import VideoInfo

OUTPUT_FOLDER = Path("outputs")
CADENCE = frozenset(
    {"window_batch", "decode_batch", "device", "compile", "offload", "resume", "overwrite", "output"}
)
"""Settings that change how the work is done but not what comes out: they may change on resume."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One animation: its inputs, where it writes, and what drives."""

    config: AnimateConfig
    reference: Path
    outputs: OutputPaths
    speech: Sound | None
    """Sound that drives."""
    soundtrack: Sound | None
    """Sound of the output: the speech, else the driving video's own."""
    regions: frozenset[Region]

    def input_hashes(self) -> dict[str, dict[str, str]]:
        """Path and SHA-256 of each input file."""
        files = {"reference": self.reference, "driving": self.config.driving, "audio": self.config.audio}
        return {
            kind: {"path": str(path), "sha256": sha256_of(path)}
            for kind, path in files.items()
            if path is not None
        }

    @property
    def modalities(self) -> list[str]:
        visual = ["visual"] if self.config.driving else []
        return visual + (["audio"] if self.speech else [])

    @property
    def mask_mode(self) -> MaskMode:
        """Eq. 2 acts only while eyes drive and the mouth does not."""
        return self.config.mask_mode if self.regions == {"eyes"} else "off"


def plan(config: AnimateConfig) -> Plan:
    """Read the sound, look at the video, settle the output; raises a UsageError for what cannot work."""
    if config.reference is None:
        raise UsageError("There is no portrait to animate.", fix="Name one with --reference IMAGE.")
    if config.driving is None and config.audio is None:
        raise UsageError("Nothing drives the portrait.", fix="Give --driving VIDEO, --audio SOUND, or both.")
    inputs = [path for path in (config.reference, config.driving, config.audio) if path is not None]
    for path in inputs:
        if not path.exists():
            raise MediaError(f"There is no file '{path}'.", fix="Check the path.")
    outputs = plan_outputs(
        output_of(config),
        inputs=inputs,
        overwrite=config.overwrite,
        compare=config.compare,
        sheet=config.contact_sheet,
    )
    driver = probe_video(config.driving, limits=config.limits) if config.driving else None
    speech = read_sound(config.audio, limits=config.limits) if config.audio else None
    return Plan(
        config=config,
        reference=config.reference,
        outputs=outputs,
        speech=speech,
        soundtrack=speech or _own_sound(driver, config),
        regions=_regions(config),
    )


def output_of(config: AnimateConfig) -> Path:
    """The video of a configuration: the one it names, or one named after its inputs."""
    if config.output is not None:
        return config.output
    parts = [path.stem for path in (config.reference, config.driving, config.audio) if path is not None]
    return OUTPUT_FOLDER / f"{'-'.join(parts)}.mp4"


def _own_sound(driver: VideoInfo | None, config: AnimateConfig) -> Sound | None:
    if driver is None or not driver.has_sound:
        return None
    return read_sound(driver.path, limits=config.limits)


def _regions(config: AnimateConfig) -> frozenset[Region]:
    """Without audio the driver shows eyes and mouth; with audio its eyes, as stage 2 trains."""
    if config.driving is None:
        return frozenset()
    if config.regions is not None:
        return frozenset(config.regions)
    return frozenset({"eyes"}) if config.audio else frozenset({"eyes", "mouth"})
