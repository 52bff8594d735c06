"""Eq. 2: which tokens may read which, so that eye patches do not steer the mouth.

Shape legend:  B rows (clips x frames folded)   N tokens of a frame   R reference tokens
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

MaskMode = Literal["paper", "strict", "off"]
MaskForm = Literal["exclude", "literal"]


@dataclass(frozen=True, slots=True)
class RegionMask:
    """Rows (queries) that may not read the hidden tokens (keys) of their own frame.

    rows (B, N) bool, hidden (B, N) bool; `form` says how they are hidden (see MaskConfig.form).
    """

    rows: Tensor
    hidden: Tensor
    form: MaskForm = "exclude"

    def allowed(self, *, reference_tokens: int) -> Tensor:
        """(B, 1, N, N + R) bool for scaled_dot_product_attention; reference tokens are always allowed."""
        own = ~(self.rows[:, :, None] & self.hidden[:, None, :])  # (B, N, N)
        reference = own.new_ones(*own.shape[:2], reference_tokens)
        return torch.cat([own, reference], dim=2)[:, None]

    def to(self, device: torch.device) -> "RegionMask":
        """The mask on another device."""
        return RegionMask(rows=self.rows.to(device), hidden=self.hidden.to(device), form=self.form)


def region_mask(
    *, mouth: Tensor, eyes: Tensor, mode: MaskMode, form: MaskForm = "exclude", active: Tensor | None = None
) -> RegionMask | None:
    """The mask of eq. 2, or None for mode `off`.

    mouth, eyes: (B, N) bool token masks. `paper`: mouth tokens do not read eye tokens (one hop; other tokens
    still may, so nothing is isolated over several blocks). `strict` (ours): no token outside the eyes reads
    them, which holds at any depth unless a norm over time mixes the frame (docs/paper.md).
    active (B,) bool: rows where the mouth is not driven visually; None = all.
    """
    if mode == "off":
        return None
    rows = mouth if mode == "paper" else ~eyes
    if active is not None:
        rows = rows & active[:, None]
    return RegionMask(rows=rows, hidden=eyes, form=form)
