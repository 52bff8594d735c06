"""The Driven Encoder: motion features from the driving patches, at latent resolution.

Shape legend:  B rows   H, W picture height and width   M motion channels
"""

from torch import Tensor, nn

from megactor_core.config.model import ModelConfig


class DrivenEncoder(nn.Module):
    """Four 2D conv stages [P] in the layout of the release [R]: 164,792 parameters at the paper's size.

    Each stage is a 3 x 3 conv and a second conv (4 x 4 with stride 2 in the first three), SiLU after both;
    a 1 x 1 conv ends it. He-initialised throughout, also the last conv: the denoiser's input weights for
    these channels start at zero, and if both were zero neither would ever get a gradient.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for i, width in enumerate(config.driven.widths):
            kernel, stride = (4, 2) if i < 3 else (3, 1)
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU()]
            layers += [nn.Conv2d(channels, width, kernel, stride=stride, padding=1), nn.SiLU()]
            channels = width
        layers.append(nn.Conv2d(channels, config.driven.out_channels, 1))
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # std = sqrt(2 / fan_in)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, driving: Tensor) -> Tensor:
        """Driving composite of eq. 1 in [0, 1] (B, 3, H, W) -> motion features (B, M, H / 8, W / 8)."""
        return self.layers(2 * driving - 1)
