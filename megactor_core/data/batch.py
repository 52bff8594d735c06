"""What the reader hands to training: one sample, and a batch of them.

Shape legend:
    B samples   F target frames   S side of the picture in pixels   N = (S / 16)^2 tokens
    C latent channels   H = W = S / 8   J mel frames of a window
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from megactor_core.data.draws import Mode


@dataclass(frozen=True, slots=True)
class Item:
    """One sample; every tensor is a Batch's without its first axis."""

    index: int
    mode: Mode
    reference: Tensor | None
    target: Tensor | None
    reference_latent: Tensor | None
    target_latent: Tensor | None
    driving: Tensor
    eyes: Tensor
    mouth: Tensor
    mask_active: bool
    loss_weight: Tensor
    audio: Tensor
    has_audio: bool
    null: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """B samples on one device. Pictures or latents are given, never both."""

    index: Tensor
    """(B,) int64: the samples' global numbers."""
    mode: tuple[Mode, ...]
    reference: Tensor | None
    """(B, 3, S, S) float32 in [-1, 1]."""
    target: Tensor | None
    """(B, F, 3, S, S) float32 in [-1, 1]."""
    reference_latent: Tensor | None
    """(B, C, H, W) float32: the unscaled mean."""
    target_latent: Tensor | None
    """(B, F, C, H, W) float32: the unscaled means."""
    driving: Tensor
    """(B, F, 3, S, S) float32 in [0, 1]: eq. 1's picture; zeros where nothing drives visually."""
    eyes: Tensor
    """(B, F, N) bool: tokens of the driver's eye patches, grown by the model's eye_dilation_tokens.
    Where the mouth does not drive, the patches are without its pixels."""
    mouth: Tensor
    """(B, F, N) bool: tokens of the target's mouth."""
    mask_active: Tensor
    """(B,) bool: eq. 2 applies, since patches drive and the mouth is not among them."""
    loss_weight: Tensor
    """(B, F, 1, H, W) float32: 0 in the target's mouth, grown by one latent pixel, where it is driven neither
    visually nor by sound; else 1. Null samples have 1 everywhere."""
    audio: Tensor
    """(B, F, 80, J) log-mel windows, or (B, F, 50, E) Whisper tokens; zeros without sound."""
    has_audio: Tensor
    """(B,) bool: the sound drives. Where False, the audio tokens that the model reads are to be zero."""
    null: Tensor
    """(B,) bool: reference, driving and audio are dropped; the reference is still given here."""

    def to(self, device: torch.device | str) -> Self:
        """The batch on another device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def collate(items: Sequence[Item]) -> Batch:
    """Join samples of one reader into a batch, in order."""

    def stack(name: str) -> Tensor:
        return torch.stack([getattr(item, name) for item in items])

    def stack_if_given(name: str) -> Tensor | None:
        return None if getattr(items[0], name) is None else stack(name)

    def flags(name: str) -> Tensor:
        return torch.tensor([getattr(item, name) for item in items])

    return Batch(
        index=torch.tensor([item.index for item in items], dtype=torch.int64),
        mode=tuple(item.mode for item in items),
        reference=stack_if_given("reference"),
        target=stack_if_given("target"),
        reference_latent=stack_if_given("reference_latent"),
        target_latent=stack_if_given("target_latent"),
        driving=stack("driving"),
        eyes=stack("eyes"),
        mouth=stack("mouth"),
        mask_active=flags("mask_active"),
        loss_weight=stack("loss_weight"),
        audio=stack("audio"),
        has_audio=flags("has_audio"),
        null=flags("null"),
    )
