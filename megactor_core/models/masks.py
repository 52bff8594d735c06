"""Eq. 2: which tokens may read which, so that eye patches do not steer the mouth.

Shape legend:  B rows (clips x frames folded)   N tokens of a frame   R reference tokens
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

MaskMode = Literal["paper", "strict", "off"]
MaskForm = Literal["exclude", "literal"]


@dataclass(frozen=True, slots=True)
class RegionMask:
    """Rows (queries) that may not read the hidden tokens (keys) of their own frame.

    rows (B, N) bool, hidden (B, N) bool; `form` says how they are hidden (see MaskConfig.form).
    reads_reference (B,) bool: rows that see the reference's tokens; None = all. Training draws rows of the
    null branch into any batch, so it hides the reference here instead of leaving it out.
    """

    rows: Tensor
    hidden: Tensor
    form: MaskForm = "exclude"
    reads_reference: Tensor | None = None

    def allowed(self, *, reference_tokens: int) -> Tensor:
        """(B, 1, N, N + R) bool for scaled_dot_product_attention: own tokens, then the reference's."""
        own = ~(self.rows[:, :, None] & self.hidden[:, None, :])  # (B, N, N)
        return torch.cat([own, self.allowed_reference(reference_tokens)], dim=2)[:, None]

    def allowed_reference(self, reference_tokens: int) -> Tensor:
        """(B, N, R) bool."""
        shape = (*self.rows.shape, reference_tokens)
        if self.reads_reference is None:
            return self.rows.new_ones(shape)
        return self.reads_reference[:, None, None].expand(shape)

    def reading_only(self) -> "RegionMask":
        """The same rows see the reference; none of their own tokens is hidden."""
        return replace(self, rows=torch.zeros_like(self.rows))

    def to(self, device: torch.device) -> "RegionMask":
        """The mask on another device."""
        seen = None if self.reads_reference is None else self.reads_reference.to(device)
        return RegionMask(self.rows.to(device), self.hidden.to(device), self.form, seen)


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
