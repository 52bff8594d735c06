"""The Reference Transformer: identity and background of the portrait, as tokens for the denoiser to read.

Shape legend:  B clips   C latent channels   H, W latent height and width   R tokens   D width
"""

from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.models.dit import Backbone, Block
from megactor_core.models.layers import Modulation


class ReferenceTransformer(Backbone):
    """Architecturally the Denoising Transformer [P], without motion, audio and time.

    Its last block's attention and MLP and its head lead nowhere; they exist so that PixArt-alpha weights fit
    and are frozen (`dead_parameters`), or distributed training would wait for gradients that never come.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, in_channels=config.latent_channels)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.init_backbone()
        for parameter in self.dead_parameters():
            parameter.requires_grad_(False)

    def dead_parameters(self) -> list[nn.Parameter]:
        """Parameters that no output depends on: 15,974,816 at the paper's size."""
        last = self.blocks[-1]
        assert isinstance(last, Block)
        return [
            *last.self_attention.parameters(),
            *last.mlp.parameters(),
            *self.head.parameters(),
            self.head_table,
        ]

    def forward(self, latent: Tensor, t: Tensor) -> list[Tensor]:
        """Latent of the portrait without noise (B, C, H, W), t (B,) -> a list of (B, R, D).

        One entry for each denoiser block that reads the reference: the same-index block's normed and
        modulated self-attention input [R, MagicAnimate].
        """
        x, _ = self.embed(latent)
        _, six = self.timestep(t)
        states: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            m = block.modulation(six)
            n = block.attention_input(x, m)
            if i >= self.config.reference_start:
                states.append(n)
            if i == self.config.depth - 1:
                break  # nothing reads what comes after
            x = self.run_block(_after_attention_input, block, x, n, m)
        return states


def _after_attention_input(block: Block, x: Tensor, n: Tensor, m: Modulation) -> Tensor:
    return block.feed_forward(block.attend(x, n, m), m)
