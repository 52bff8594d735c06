"""Which clips each mode draws from, checked against what the model reads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from megactor_core.config.data import DataConfig
from megactor_core.config.model import ModelConfig
from megactor_core.data.draws import MODES, Mode, needs_sound
from megactor_core.data.sample import IndexRow
from megactor_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Pools:
    """Numbers of the clips that can be samples.

    A clip without sound is for the visual mode alone. So that the shares of the modes hold whatever part of
    the clips has sound, the mode is drawn first, and then a clip of those that can show it.
    """

    all: tuple[int, ...]
    with_sound: tuple[int, ...]
    stored_latents: bool
    """Latents are read in place of pictures: every clip has them, and the configuration allows it."""

    def of(self, mode: Mode) -> tuple[int, ...]:
        """The clips of a mode."""
        return self.with_sound if needs_sound(mode) else self.all


def make_pools(rows: Sequence[IndexRow], config: DataConfig, model: ModelConfig) -> Pools:
    """Sort clips into pools; raises ConfigError where sizes, lengths or sound do not fit model and config."""
    _require_size(rows, model)
    fitting = tuple(i for i, row in enumerate(rows) if (row.frames or 0) >= config.frames_needed)
    if not fitting:
        longest = max((row.frames or 0 for row in rows), default=0)
        raise ConfigError(
            f"A sample takes {config.frames_needed} frames, but the longest of {len(rows)} clips has "
            f"{longest}.",
            fix="Lower clip_frames or stride_min, or preprocess longer clips.",
        )
    with_sound = tuple(i for i in fitting if rows[i].has_audio)
    if any(getattr(config.mix, mode) > 0 for mode in MODES if needs_sound(mode)):
        _require_sound([rows[i] for i in fitting], config, model)
    return Pools(
        all=fitting,
        with_sound=with_sound,
        stored_latents=config.latents and all(rows[i].has_latents for i in fitting),
    )


def _require_size(rows: Iterable[IndexRow], model: ModelConfig) -> None:
    for row in rows:
        if row.size_px != model.native_px:
            raise ConfigError(
                f"The clip '{row.sample_id}' is {row.size_px} px, but the model's native size is "
                f"{model.native_px} px.",
                fix=f"Run `megactor preprocess --size {model.native_px}` into a new folder.",
            )


def _require_sound(rows: Sequence[IndexRow], config: DataConfig, model: ModelConfig) -> None:
    heard = [row for row in rows if row.has_audio]
    if not heard:
        share = config.mix.audio + config.mix.mixed
        raise ConfigError(
            f"{share:.0%} of the samples are to be driven by sound, but none of the {len(rows)} clips has "
            "one.",
            fix="Preprocess clips with sound, or set mix.visual to 1 and the other shares to 0.",
        )
    wanted = model.audio.encoder
    for row in heard:
        if row.audio_features != wanted:
            raise ConfigError(
                f"The clip '{row.sample_id}' has sound features '{row.audio_features or 'none'}', but the "
                f"model reads '{wanted}'.",
                fix=f"Preprocess again with sound features '{wanted}', or train a model of the other kind.",
            )
