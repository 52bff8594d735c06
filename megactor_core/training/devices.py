"""The devices and processes of a run, as accelerate sees them."""

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import GradientAccumulationPlugin, parse_choice_from_env

from megactor_core.config.train import TrainConfig
from megactor_core.errors import ConfigError

_MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


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
