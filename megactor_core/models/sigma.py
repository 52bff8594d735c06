"""MegActor-Sigma: figure 3 of the paper. It holds neither the autoencoder nor Whisper.

Shape legend:
    B clips   F frames   C latent channels   H, W latent height and width   S audio tokens   E audio width
"""

from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.models.dit import Denoiser
from megactor_core.models.driven_encoder import DrivenEncoder
from megactor_core.models.masks import RegionMask
from megactor_core.models.reference import ReferenceTransformer


class Sigma(nn.Module):
    """Denoising Transformer, Reference Transformer and Driven Encoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.denoiser = Denoiser(config)
        self.reference = ReferenceTransformer(config)
        self.driven_encoder = DrivenEncoder(config)

    def forward(
        self,
        latents: Tensor,
        t: Tensor,
        *,
        reference_latent: Tensor,
        driving: Tensor,
        audio: Tensor,
        mask: RegionMask | None = None,
        audio_scale: float = 1.0,
        use_temporal: bool = True,
    ) -> Tensor:
        """One evaluation of the whole model, as in training; `animate` calls the parts to reuse them.

        latents (B, F, C, H, W) noisy, t (B,) or a time step a frame (B, F), which only a reference at time
        step zero can serve; reference_latent (B, C, H, W) clean,
        driving (B, F, 3, 8 H, 8 W) in [0, 1], audio (B, F, S, E); mask: eq. 2 over B * F rows;
        `use_temporal`: see Denoiser.forward.
        Returns (B, F, C_out, H, W).
        """
        states = self.reference(reference_latent, self.reference_time(t))  # list of (B, R, D)
        motion = self.driven_encoder(driving.flatten(0, 1))  # (B F, M, H, W)
        return self.denoiser(
            latents,
            t,
            motion=motion.unflatten(0, driving.shape[:2]),                      # (B, F, M, H, W)
            audio=audio,                                                        # (B, F, S, E)
            reference=self.denoiser.reference_keys(states),                     # list of keys, values
            mask=mask,
            audio_scale=audio_scale,
            use_temporal=use_temporal,
        )  # fmt: skip

    def reference_time(self, t: Tensor) -> Tensor:
        """Time step (B,) of the Reference Transformer: the denoiser's, or zero (ReferenceConfig.timestep).

        Raises ValueError for the denoiser's where that is another one in every frame.
        """
        if self.config.reference.timestep == "zero":
            return t.new_zeros(len(t))
        if t.ndim != 1:
            raise ValueError("a reference at the denoiser's time step needs one for all frames of a clip")
        return t
