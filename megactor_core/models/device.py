"""Where and in which precision a model runs."""

import torch

from megactor_core.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """The device of a name; `auto` is the accelerator that accelerate finds, else the CPU.

    Raises ConfigError for a name that is no device, or a device that is not there.
    """
    if name == "auto":
        from accelerate import PartialState

        return PartialState().default_device
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"--device {name} cannot be used: {reason}", fix="Use --device auto, or see `megactor doctor`."
        ) from None
    if device.type == "meta":
        raise ConfigError("--device meta holds no numbers.", fix="Use --device auto.")
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision of a name; `auto` is bfloat16 on CUDA devices that have it and float32 elsewhere.

    Raises ConfigError for float16 on a CPU, where it is slower than float32 by orders of magnitude.
    """
    if name == "auto":
        has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if has_bfloat16 else torch.float32
    if name == "float16" and device.type == "cpu":
        raise ConfigError("--dtype float16 does not run well on a CPU.", fix="Use float32 or bfloat16.")
    return DTYPES[name]
