"""Where and in which precision a model runs, and how full it is there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from megactor_core.errors import ConfigError, first_line

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_SIGNS_OF_NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


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
        raise ConfigError(
            f"--device {name} cannot be used: {first_line(error)}",
            fix="Use --device auto, or see `megactor doctor`.",
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


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Let torch use only what gives the same bits each time on one machine, where `wanted`.

    Operations that have no such form raise RuntimeError. cuBLAS reads its setting where a process first uses
    it.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.use_deterministic_algorithms(before)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is out, the device's or the machine's.

    torch's CPU allocator, its MPS back end and CUDA outside torch's own allocator say so by a plain
    RuntimeError, known by its words alone.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS_OF_NO_MEMORY)


def memory_use(device: torch.device) -> tuple[int, int] | None:
    """Bytes that this process holds on the device, and bytes that are free there; None where nothing says."""
    match device.type:
        case "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            return torch.cuda.memory_reserved(device), free
        case "cpu":
            return _main_memory_use()
        case _:
            return None


def _main_memory_use() -> tuple[int, int] | None:
    """Linux says it in these files, in kB; other systems have no such file."""
    try:
        return _bytes_of("/proc/self/status", "VmRSS:"), _bytes_of("/proc/meminfo", "MemAvailable:")
    except (OSError, LookupError):
        return None


def _bytes_of(path: str, name: str) -> int:
    lines = map(str.split, Path(path).read_text(encoding="utf-8").splitlines())
    return 1024 * {words[0]: int(words[1]) for words in lines if words[:1] == [name]}[name]
