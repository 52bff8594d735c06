"""Self and reference attention in one product against two merged by log-sum-exp: attention_merge.py

`python tests/benchmarks/attention_merge.py`. The model joins a frame's keys with the reference's, copied for
every frame; two products, with the reference's keys as they are, give the same output once merged by the
log-sum-exp of their scores. The gain is the copy that is not made. The product that returns log-sum-exps is a
private one of torch's, so this stands here and not in the model. Half a minute; ends with 1 where the outputs
differ by more than 1e-5, or the control pair by more than it may.
"""

import sys
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from measure import CONTROL_TOLERANCE, interleaved, ratio, spread
from torch import Tensor

SIZES = {"tiny": (50, 16, 4, 64, 32), "small": (3, 16, 6, 256, 64), "paper, 4 frames": (1, 4, 16, 1024, 72)}
"""Calls a round; frames, heads, tokens and channels of a head of one layer."""
ROUNDS, MOST_DIFFERENCE = 9, 1e-5


def joined(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """As the model does: q, k, v (F, H, N, d), keys and values of the reference (1, H, N, d)."""
    keys, values = (repeat(x, "1 h n d -> f h n d", f=len(q)) for x in (keys, values))
    return F.scaled_dot_product_attention(q, torch.cat([k, keys], dim=2), torch.cat([v, values], dim=2))


def merged(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The same, without a copy of the reference's."""
    product = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    own, own_weight = product(q, k, v)
    other, other_weight = product(rearrange(q, "f h n d -> 1 h (f n) d"), keys, values)
    other = rearrange(other, "1 h (f n) d -> f h n d", f=len(q))
    other_weight = rearrange(other_weight.view(1, q.shape[1], -1), "1 h (f n) -> f h n", f=len(q))
    share = torch.sigmoid(own_weight.view(other_weight.shape) - other_weight)
    return torch.lerp(other, own, share.unsqueeze(-1))


def again(attend: Callable[..., Tensor], inputs: tuple[Tensor, ...], *, calls: int) -> None:
    for _ in range(calls):
        attend(*inputs)


def main() -> int:
    failed = False
    for name, (calls, frames, heads, tokens, width) in SIZES.items():
        generator = torch.Generator().manual_seed(0)
        q, k, v = torch.randn(3, frames, heads, tokens, width, generator=generator)
        keys, values = torch.randn(2, 1, heads, tokens, width, generator=generator)
        inputs = (q, k, v, keys, values)
        difference = float((joined(*inputs) - merged(*inputs)).abs().max())
        times = interleaved(
            {
                "merged": partial(again, merged, inputs, calls=calls),
                "joined": partial(again, joined, inputs, calls=calls),
                "control": partial(again, joined, inputs, calls=calls),
            },
            rounds=ROUNDS,
        )
        control = ratio(times["control"], times["joined"])
        failed |= difference > MOST_DIFFERENCE or abs(control - 1) > CONTROL_TOLERANCE
        sys.stdout.write(
            f"{name:16} largest difference {difference:.1e}; merged / joined "
            f"{ratio(times['merged'], times['joined']):.3f} {spread(times['merged'], times['joined'])}, "
            f"control {control:.3f}\n"
        )
    return int(failed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
