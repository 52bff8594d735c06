"""Weights that are shared out over the processes (FSDP2), for models that one device's memory does not hold.

The units that are gathered at once are the denoiser's blocks and the two layers of each reference block;
everything else is gathered for the whole step. accelerate says whether weights are shared out, as a
configuration of `accelerate launch` asks; on a CPU, where accelerate knows no FSDP, its variable counts.
"""

import warnings
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from megactor_core.models.dit import Block, DenoiserBlock


def shares_out_weights(accelerator: Accelerator) -> bool:
    """Whether the run was started so."""
    if accelerator.distributed_type == DistributedType.FSDP:
        return True
    return accelerator.num_processes > 1 and parse_flag_from_env("ACCELERATE_USE_FSDP")


def shard(network: nn.Module, accelerator: Accelerator) -> None:
    """Share out the weights in place; parameters become DTensors under the names that they have."""
    # Outputs that are views must not be written to in place, and no layer here does that.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
    network.to(accelerator.device)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for module in list(network.modules()):
        if isinstance(module, DenoiserBlock):
            fully_shard(module, mesh=mesh)
            register_fsdp_forward_method(module, "reference_keys")  # called beside forward
        elif isinstance(module, Block):
            fully_shard(module.self_attention, mesh=mesh)
            fully_shard(module.mlp, mesh=mesh)
    fully_shard(network, mesh=mesh)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be shared out; every process has to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that may be shared out: the very memory, not a copy."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shared_like(value: Tensor, example: Tensor) -> Tensor:
    """A whole tensor on the example's device, shared out as that is; what is shared out already stays so."""
    if isinstance(value, DTensor):
        return value
    value = value.to(example.device)
    if not isinstance(example, DTensor):
        return value
    return distribute_tensor(value, example.device_mesh, example.placements)


@torch.no_grad()
def copy_into(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Overwrite tensors by name with values that are whole, or shared out in the same way."""
    for name, target in targets.items():
        own_part(target).copy_(own_part(shared_like(values[name], target)))
