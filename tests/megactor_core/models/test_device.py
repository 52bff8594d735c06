"""What says that memory is out, and how full a device is."""

import sys

import pytest
import torch

from megactor_core.models.device import is_out_of_memory, memory_use

CPU = torch.device("cpu")


def raised_by_the_allocator() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("data. DefaultCPUAllocator: not enough memory: you tried to allocate 9 B"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.0 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=str,
)
def test_memory_that_is_out(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_what_torch_raises_on_this_cpu_is_known() -> None:
    assert is_out_of_memory(raised_by_the_allocator())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("could not create a primitive"),  # for want of memory, or for an error in oneDNN
        ValueError("out of memory"),
        OSError(12, "Cannot allocate memory"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_errors(error: BaseException) -> None:
    assert not is_out_of_memory(error)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say")
def test_main_memory_follows_what_is_held() -> None:
    before = memory_use(CPU)
    block = torch.ones(2**26)  # 256 MiB, touched
    after = memory_use(CPU)
    assert before is not None
    assert after is not None
    assert after[0] - before[0] > 0.9 * block.nbytes
    assert after[1] > 0


def test_a_device_that_does_not_say() -> None:
    assert memory_use(torch.device("meta")) is None


def test_main_memory_is_unknown_without_the_files_that_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megactor_core.models.device.Path", lambda path: missing(path))
    assert memory_use(CPU) is None


def missing(path: str) -> None:
    raise FileNotFoundError(path)
