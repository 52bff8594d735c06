"""Ways to animate the held-out clips, one a take: who drives with what, and at which strength.

Everything goes through `animate` itself, as a user would call it: the portrait is the clip's first frame, the
visual driver is its twin (another person who does the same), the sound is its own, another clip's or silence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import soundfile

from megactor_core.config.animate import AnimateConfig
from megactor_core.config.claims import ClaimName, ClaimsConfig
from megactor_core.data.sample import DRIVER, SOUND
from megactor_core.errors import MetricError
from megactor_core.evaluation.truth_clips import TruthClip
from megactor_core.files import atomic_path
from megactor_core.media.image import write_image
from megactor_core.models.audio import AUDIO_HZ

GENERATED, PORTRAITS, SILENCE = "generated", "portraits", "silence.flac"
V, A, AV, AV_BOTH, EYES, EYES_SILENCE = "V", "A", "A+V", "A+V, mouth too", "eyes", "eyes, silence"
SHUFFLED, BEFORE = "shuffled", "before"
OWN, OTHER = "own", "other"
_UNUSED: Final = {"seed", "audio_scale", "alpha", "seconds"}
"""Fields of `generate` that the takes set."""


@dataclass(frozen=True, slots=True)
class Take:
    """One way to animate every clip; `changes` are fields of AnimateConfig."""

    name: str
    label: str
    face: Literal["none", "twin", "other"] = "twin"
    """Who drives visually: nobody, the clip's twin, or that of another clip."""
    sound: Literal["none", "own", "other", "silence"] = "none"
    changes: dict[str, Any] = field(default_factory=dict)
    repeats: bool = True
    """Made with every seed; else with the first."""
    pictured: bool = False
    """Compared with the true pictures too, and shown to the face detector, which takes longer."""
    before: bool = False
    """By the checkpoint `before`."""

    def but(self, **changes: Any) -> "Take":
        """The same with other settings of `animate`."""
        return replace(self, changes={**self.changes, **changes})

    @property
    def folder(self) -> str:
        """The name as a folder's."""
        return "".join(c if c.isalnum() or c in "+-." else "-" for c in self.name.lower())


def scale_name(scale: float) -> str:
    """The take of an audio scale."""
    return AV if scale == 1 else f"audio-scale {scale:g}"


def alpha_name(alpha: float) -> str:
    """The take of an alpha."""
    return V if alpha == 1 else f"alpha {alpha:g}"


def leak_name(mode: str, *, whose: str) -> str:
    """The take of a still head that is driven by its own twin's eyes, or by those of another clip."""
    return f"leak {mode} {whose}"


def takes_of(config: ClaimsConfig) -> tuple[Take, ...]:
    """The takes that the claims are measured on, each once."""
    takes = [take for claim in config.claims for take in _takes_of_claim(claim, config)]
    return tuple({take.name: take for take in takes}.values())


def _takes_of_claim(claim: ClaimName, config: ClaimsConfig) -> Iterator[Take]:
    match claim:
        case "table3":
            both = {"regions": ("eyes", "mouth")}
            yield _VISUAL
            yield Take(A, "sound", face="none", sound="own", pictured=True)
            yield _MIXED
            yield Take(AV_BOTH, "eyes + mouth + sound", sound="own", changes=both, pictured=True)
        case "audio-scale":
            yield _MIXED
            for scale in config.audio_scales:
                if scale != 1:
                    yield replace(_MIXED, name=scale_name(scale), pictured=False).but(audio_scale=scale)
            yield Take(SHUFFLED, "eyes + another clip's sound", sound="other", changes=_EYES)
        case "alpha":
            yield _VISUAL
            for alpha in config.alphas:
                if alpha != 1:
                    name = alpha_name(alpha)
                    yield replace(_VISUAL, name=name, pictured=False, repeats=False).but(alpha=alpha)
        case "stillness":
            yield Take(EYES, "eyes, no sound", changes=_EYES)
            yield Take(EYES_SILENCE, "eyes, silence as sound", sound="silence", changes=_EYES)
        case "leak":
            for mode in config.mask_modes:
                own = Take(leak_name(mode, whose=OWN), f"eyes, mask {mode}", changes=_EYES, repeats=False)
                own = own.but(alpha=0.0, mask_mode=mode)
                yield own
                yield replace(own, name=leak_name(mode, whose=OTHER), face="other")
        case "temporal":
            yield _MIXED
            yield replace(_MIXED, name=BEFORE, label="eyes + sound, before", before=True)
        case "samplers":
            yield _MIXED
            for name, changes in config.samplers.items():
                yield replace(_MIXED, name=name, label=name, repeats=False).but(**changes)


_EYES: Final = {"regions": ("eyes",)}
_VISUAL: Final = Take(V, "eyes + mouth", pictured=True)
_MIXED: Final = Take(AV, "eyes + sound", sound="own", changes=_EYES, pictured=True)


def seeds_of(take: Take, config: ClaimsConfig) -> tuple[int, ...]:
    """The seeds that a take is made with."""
    return config.seeds if take.repeats else config.seeds[:1]


def video_of(take: Take, clip: TruthClip, seed: int, config: ClaimsConfig) -> Path:
    """Where a take's clip lies."""
    return config.output / GENERATED / f"seed-{seed}" / take.folder / f"{clip.name}.mp4"


def jobs_of(
    takes: Sequence[Take], clips: Sequence[TruthClip], config: ClaimsConfig
) -> Iterator[tuple[Take, TruthClip, int, AnimateConfig]]:
    """What to animate, a checkpoint's takes together: one checkpoint is in memory at a time."""
    for take in sorted(takes, key=lambda take: take.before):
        for seed in seeds_of(take, config):
            for number, clip in enumerate(clips):
                other = clips[(number + 1) % len(clips)]
                yield take, clip, seed, _animation(take, clip, other, seed, config)


def _animation(
    take: Take, clip: TruthClip, other: TruthClip, seed: int, config: ClaimsConfig
) -> AnimateConfig:
    faces = {"none": None, "twin": _file(clip, DRIVER), "other": _file(other, DRIVER)}
    sounds = {
        "none": None,
        "own": _file(clip, SOUND),
        "other": _file(other, SOUND),
        "silence": config.output / SILENCE,
    }
    plain = AnimateConfig(
        reference=config.output / PORTRAITS / f"{clip.name}.png",
        driving=faces[take.face],
        audio=sounds[take.sound],
        checkpoint=config.before if take.before else config.checkpoint,
        output=video_of(take, clip, seed, config),
        resume=True,
        badge="off",
        seed=seed,
        seconds=float(config.frames / clip.sample.facts.rate),
        fps=clip.sample.facts.rate,
        quality="lossless",
        crop={"mode": "square"},  # the sample is cropped already: the result must lie on it
        landmarks=config.landmarks,
        device=config.device,
        **config.generate.model_dump(exclude=_UNUSED),
    )
    return plain.updated(take.label, **{**config.animate, **take.changes})


def write_inputs(clips: Sequence[TruthClip], config: ClaimsConfig) -> None:
    """The portraits and the silence; raises OutputError, and MetricError for clips that are too short."""
    for clip in clips:
        if clip.sample.frames < config.frames:
            raise MetricError(
                f"The sample '{clip.name}' has {clip.sample.frames} frames, {config.frames} are asked for.",
                fix="Make longer clips, or lower `frames`.",
            )
        portrait = config.output / PORTRAITS / f"{clip.name}.png"
        if not portrait.is_file():
            portrait.parent.mkdir(parents=True, exist_ok=True)
            write_image(portrait, clip.sample.read_frames([0])[0])
    rate: Fraction = clips[0].sample.facts.rate
    silence = np.zeros(round(AUDIO_HZ * config.frames / rate), dtype=np.float32)
    if not (config.output / SILENCE).is_file():
        with atomic_path(config.output / SILENCE) as temporary:
            soundfile.write(temporary, silence, AUDIO_HZ, format="FLAC")


def _file(clip: TruthClip, name: str) -> Path:
    path = clip.sample.folder / name
    if not path.is_file():
        raise MetricError(
            f"The sample '{clip.name}' has no {name}.",
            fix="Make the held-out corpus with `megactor synth --twins`, whose clips speak.",
        )
    return path
