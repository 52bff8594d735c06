"""What a stage runs and trains: Sigma, and beside it the audio encoder where that is this project's own.

Shape legend:
    B clips   F frames   C latent channels   H, W latent height and width   S audio tokens   E audio width
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from megactor_core.models.audio import LogMelEncoder
from megactor_core.models.masks import RegionMask
from megactor_core.models.sigma import Sigma
from megactor_core.training.stages import Stage, trainable_parameters


class TrainedNetwork(nn.Module):
    """One module and one forward call, so that gradients of all processes meet in one place."""

    def __init__(self, sigma: Sigma, audio_encoder: LogMelEncoder | None, *, stage: Stage) -> None:
        super().__init__()
        self.sigma = sigma
        self.audio_encoder = audio_encoder
        self.stage = stage

    def parameters_to_train(self) -> dict[str, nn.Parameter]:
        """The stage's parameters by name, in the model's order."""
        chosen = {f"sigma.{name}": p for name, p in trainable_parameters(self.sigma, self.stage).items()}
        if self.audio_encoder is not None and self.stage.trains_audio_encoder:
            named = self.audio_encoder.named_parameters(prefix="audio_encoder")
            chosen |= dict(named)
        return chosen

    def freeze_the_rest(self) -> dict[str, nn.Parameter]:
        """Let only the stage's parameters have gradients; returns them."""
        chosen = self.parameters_to_train()
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in chosen)
        return chosen

    def forward(
        self,
        noisy: Tensor,
        t: Tensor,
        *,
        reference_latent: Tensor,
        driving: Tensor,
        audio: Tensor,
        speaks: Tensor,
        mask: RegionMask | None,
    ) -> Tensor:
        """Prediction (B, F, C_out, H, W) for noisy latents (B, F, C, H, W) at t (B,) or (B, F).

        reference_latent (B, C, H, W), driving (B, F, 3, 8 H, 8 W); audio: log-mel windows (B, F, 80, J), or
        Whisper's tokens (B, F, S, E); speaks (B,) bool: False replaces the audio tokens by zeros, as
        `animate` does where there is no sound.
        """
        return self.sigma(
            noisy,
            t,
            reference_latent=reference_latent,
            driving=driving,
            audio=self._audio_tokens(audio, speaks, frames=noisy.shape[1]),
            mask=mask,
            audio_scale=1.0 if self.stage.uses_audio else 0.0,
            use_temporal=self.stage.uses_temporal,
        )

    def _audio_tokens(self, audio: Tensor, speaks: Tensor, *, frames: int) -> Tensor:
        """(B, F, S, E)"""
        if not self.stage.uses_audio:
            settings = self.sigma.config.audio
            return torch.zeros(len(speaks), frames, settings.tokens, settings.width, device=speaks.device)
        if self.audio_encoder is not None:
            tokens = self.audio_encoder(rearrange(audio, "b f m j -> (b f) m j"))
            audio = rearrange(tokens, "(b f) s e -> b f s e", f=frames)
        return audio * speaks[:, None, None, None]
