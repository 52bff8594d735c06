"""Modules of shapes alone, for weights that are read from a file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DRAWS = frozenset({nn.init.normal_, nn.init.uniform_, Tensor.normal_, Tensor.uniform_})


@contextmanager
def undrawn() -> Iterator[None]:
    """Modules made inside stand on the meta device and draw no first weights.

    The device alone is not enough: a draw there, like any arithmetic, loads torch's compiler, which takes
    longer than most checkpoints take to read.
    """
    with torch.device("meta"), _NoDraws():
        yield


class _NoDraws(TorchFunctionMode):
    """Draws in place leave the tensor as it is."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in DRAWS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)
