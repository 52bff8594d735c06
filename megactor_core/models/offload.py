"""The parts of a model on the device only while they work; the CPU's memory holds the rest.

Parts come and go whole (`parts`); of a transformer (`blocks`) each layer's weights come when the layer runs
and are dropped after it, by accelerate's hooks. Neither changes a number.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from megactor_core.config.animate import Offload
from megactor_core.models.dit import Backbone


@dataclass(frozen=True, slots=True)
class Workbench:
    """A device, and how much of what does not work lies elsewhere."""

    device: torch.device
    offload: Offload

    @property
    def home(self) -> torch.device:
        """Where parts are loaded to, and lie while they do not work."""
        return self.device if self.offload == "off" else torch.device("cpu")

    @contextmanager
    def holding(self, *parts: nn.Module) -> Iterator[None]:
        """These parts are on the device while the block runs."""
        if self.offload == "off":
            yield
            return
        streamed = [layer for part in parts for layer in _layers(part)] if self.offload == "blocks" else []
        try:
            for part in parts:
                self._bring(part, without=streamed)
            self._stream(streamed)
            yield
        finally:
            _send_home(parts, streamed)

    def _bring(self, part: nn.Module, *, without: Sequence[nn.Module]) -> None:
        """Move a part, or what is left of it without these layers."""
        from accelerate.utils import set_module_tensor_to_device

        later = {id(weight) for layer in without for _, weight in _weights(layer)}
        for name, weight in list(_weights(part)):
            if id(weight) not in later:
                set_module_tensor_to_device(part, name, self.device)

    def _stream(self, layers: Sequence[nn.Module]) -> None:
        """Let layers fetch their weights when they run."""
        from accelerate import cpu_offload

        for layer in layers:
            cpu_offload(layer, execution_device=self.device, offload_buffers=True)


def _layers(part: nn.Module) -> list[nn.Module]:
    """The layers of all blocks; a block's own small table stays beside them, since others read it too."""
    backbones = [module for module in part.modules() if isinstance(module, Backbone)]
    return [layer for backbone in backbones for block in backbone.blocks for layer in block.children()]


def _weights(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _send_home(parts: Sequence[nn.Module], streamed: Sequence[nn.Module]) -> None:
    from accelerate.hooks import remove_hook_from_submodules

    for layer in streamed:
        remove_hook_from_submodules(layer)
    for part in parts:
        part.to("cpu")
