"""`megactor animate`: a portrait, a driving video and speech become a talking-head video."""

import os
import time
from collections.abc import Callable, Sequence

import torch

from megactor_core.animation.backoff import lowered_in, said_when_short
from megactor_core.animation.conditions import read_conditions
from megactor_core.animation.denoise import Sampling, denoise
from megactor_core.animation.marks import open_key
from megactor_core.animation.output import write_output
from megactor_core.animation.plan import output_of, plan
from megactor_core.animation.portrait import read_portrait
from megactor_core.animation.previews import open_previews
from megactor_core.animation.report import AnimateReport, describe
from megactor_core.animation.resume import finished, kept_when_interrupted, open_run
from megactor_core.config.animate import AnimateConfig
from megactor_core.errors import Interrupted, MegActorError, OutputError
from megactor_core.faces.landmarks import prepare
from megactor_core.listener import Listener, OnNote, OnProgress
from megactor_core.models.checkpoint import EMBEDDED, Checkpoint, CheckpointInfo, load_checkpoint
from megactor_core.models.compiled import compile_blocks
from megactor_core.models.device import deterministic_algorithms, resolve_device, resolve_dtype
from megactor_core.models.offload import Workbench


def animate(
    config: AnimateConfig, on_progress: OnProgress | None = None, on_note: OnNote | None = None
) -> AnimateReport:
    """Animate one portrait.

    `on_progress(phase, done, total)` and `on_note(text)` are called as the work goes on.
    Raises a UsageError (MediaError, FaceError, WeightsError, ...) for what cannot work. An earlier file at
    the output stays as it was until the new one is complete.
    """
    return Animator().animate(config, Listener.of(on_progress, on_note))


def animate_jobs(
    configs: Sequence[AnimateConfig],
    *,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
    on_done: Callable[[AnimateReport | MegActorError], None] | None = None,
) -> list[AnimateReport | MegActorError]:
    """Animate one after the other; a failing job does not stop the rest, a checkpoint is loaded once.

    Raises Interrupted where it is stopped.
    """
    animator, listener = Animator(), Listener.of(on_progress, on_note)
    refused = doubled_outputs(configs)
    results: list[AnimateReport | MegActorError] = []
    for number, config in enumerate(configs):
        try:
            if number in refused:
                raise refused[number]
            results.append(animator.animate(config, listener))
        except Interrupted:
            raise  # it is for all of them
        except MegActorError as error:
            results.append(error)
        if on_done is not None:
            on_done(results[-1])
    return results


def doubled_outputs(configs: Sequence[AnimateConfig]) -> dict[int, OutputError]:
    """Errors of the jobs, by number from 0, that would replace what one before them writes."""
    outputs: set[str] = set()
    doubled: dict[int, OutputError] = {}
    for number, output in enumerate(map(output_of, configs)):
        written = os.path.realpath(output)
        if written in outputs:
            doubled[number] = OutputError(
                f"Another job of this run writes '{output}'.", fix="Give each job its own `output`."
            )
        outputs.add(written)
    return doubled


class Animator:
    """Animates one job after the other, and keeps the last checkpoint. `auto_device`: what `auto` means."""

    def __init__(self, *, auto_device: str = "auto") -> None:
        self._auto_device = auto_device
        self._kept: tuple[tuple[object, ...], Checkpoint] | None = None

    @torch.no_grad()
    def animate(self, config: AnimateConfig, listener: Listener) -> AnimateReport:
        """Animate one portrait; raises as the function `animate` does."""
        start = time.perf_counter()
        job = plan(config)
        if report := finished(job):
            listener.note(f"'{report.output}' is finished already.")
            return report
        key = open_key(config)  # before the work: what cannot be signed at its end is not begun
        prepare(config.landmarks, on_progress=listener.phase("getting the face models"))  # on first use
        bench = Workbench(self._device(config), config.offload)
        checkpoint = self._checkpoint(config, bench, listener)
        sigma, autoencoder = checkpoint.sigma, checkpoint.autoencoder
        size_px = config.size or checkpoint.config.native_px
        portrait = read_portrait(job, size_px=size_px, trained_on=checkpoint.config.sampling.crop)
        with (
            deterministic_algorithms(config.deterministic),
            kept_when_interrupted(open_run(job, checkpoint)) as folder,
            said_when_short(bench.device, to=f"animate at {size_px} px", needs_less="A smaller --size"),
        ):
            job.outputs.clear_half_written()
            previews = open_previews(job, folder, size_px=size_px)
            with bench.holding(sigma.driven_encoder, autoencoder, checkpoint.audio_encoder):
                conditions = read_conditions(job, checkpoint, portrait, folder, previews, listener)
            with bench.holding(sigma):
                latents = denoise(sigma, conditions, Sampling.of(config, sigma.config), folder, listener)
            with bench.holding(autoencoder):
                write_output(job, checkpoint, portrait, conditions, latents, folder, previews, listener, key)
            seconds = time.perf_counter() - start
            return describe(job, checkpoint, conditions, lowered=lowered_in(folder), seconds=seconds)

    def _device(self, config: AnimateConfig) -> torch.device:
        return resolve_device(self._auto_device if config.device == "auto" else config.device)

    def _checkpoint(self, config: AnimateConfig, bench: Workbench, listener: Listener) -> Checkpoint:
        folder, dtype = config.checkpoint or EMBEDDED, resolve_dtype(config.dtype, bench.device)
        key = (str(folder), bench, dtype, config.compile, config.decode_tile)
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # two large models at once may not fit
            with said_when_short(bench.home, to=f"load '{folder}'", needs_less="--dtype bfloat16"):
                checkpoint = load_checkpoint(folder, device=bench.home, dtype=dtype)
            if config.compile:
                compile_blocks(checkpoint.sigma, bench.device)
            if config.decode_tile is not None:
                checkpoint.autoencoder.decode_in_tiles(config.decode_tile)
            self._kept = (key, checkpoint)
            _say_what_it_knows(checkpoint.info, listener)
        return self._kept[1]


def _say_what_it_knows(info: CheckpointInfo, listener: Listener) -> None:
    if not info.trained:
        listener.note(
            f"The checkpoint '{info.name}' is untrained: "
            "the video shows that the tool works, not a talking head."
        )
    elif info.domain:
        listener.note(f"The checkpoint '{info.name}' was trained on {info.domain}.")
