"""The devices and processes of a run, as accelerate sees them."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import GradientAccumulationPlugin, parse_choice_from_env

from megactor_core.config.train import TrainConfig
from megactor_core.errors import ConfigError, Interrupted, UsageError

_MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


@contextmanager
def processes(config: TrainConfig) -> Iterator[Accelerator]:
    """accelerate for one run.

    The link between its processes stays for the next run of the program and is taken down where the program
    ends, unless somebody else has set it up. Raises what `make_accelerator` does. Processes that are
    interrupted wait for each other, so all of them have to be; after another error nobody is waited for.
    """
    was_linked = _is_linked()
    try:
        accelerator = make_accelerator(config)
    finally:
        if _is_linked() and not was_linked:
            atexit.register(_unlink)
    try:
        yield accelerator
    except UsageError:
        raise
    except Interrupted:
        accelerator.wait_for_everyone()  # `accelerate launch` ends the others as soon as one has ended
        raise
    except BaseException:
        # An exchange may be under way in which the others will never take part: `_unlink` would wait for it.
        atexit.unregister(_unlink)
        raise


def _is_linked() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _unlink() -> None:
    """Take down the link between the processes, and wait for the threads that serve it.

    Left to the interpreter's last moments, a thread of gloo that still has a tensor to let go of ends the
    process with SIGABRT. The threads end when nothing holds the link any more.
    """
    gc.collect()  # networks that DistributedDataParallel has wrapped
    if _is_linked():
        torch.distributed.destroy_process_group()


def make_accelerator(config: TrainConfig) -> Accelerator:
    """accelerate for one run; alone, or as one of the processes that `accelerate launch` started.

    Raises ConfigError for float16 on a CPU.
    """
    # A process may train one stage after the other; accelerate would keep the first one's precision.
    AcceleratorState._reset_state()
    GradientState._reset_state()
    return Accelerator(
        cpu=config.device == "cpu",
        mixed_precision=_mixed_precision(config),
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=config.accumulate, sync_with_dataloader=False
        ),
    )


def _mixed_precision(config: TrainConfig) -> str:
    """accelerate's word for the precision; `auto` is what `accelerate launch` was told, else the device's."""
    device: torch.device = PartialState(cpu=config.device == "cpu").device
    if config.precision == "float16" and device.type == "cpu":
        raise ConfigError(
            "precision float16 does not run well on a CPU.", fix="Use float32 or bfloat16, or a GPU."
        )
    if config.precision != "auto":
        return _MIXED[config.precision]
    told = parse_choice_from_env("ACCELERATE_MIXED_PRECISION", "no")
    if told != "no":
        return str(told)
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "no"
