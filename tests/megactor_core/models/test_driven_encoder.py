"""The Driven Encoder: layout, receptive field and a start that is not silent."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.models.driven_encoder import DrivenEncoder

RECEPTIVE_FIELD_PX = 68  # of the release's layout


def convolutions(encoder: DrivenEncoder) -> list[nn.Conv2d]:
    return [layer for layer in encoder.layers if isinstance(layer, nn.Conv2d)]


@given(rows=st.integers(1, 3), tall=st.integers(1, 4), wide=st.integers(1, 4))
def test_output_has_stride_8(rows: int, tall: int, wide: int) -> None:
    encoder = DrivenEncoder(ModelConfig.preset("nano"))
    assert encoder(torch.rand(rows, 3, 32 * tall, 32 * wide)).shape == (rows, 4, 4 * tall, 4 * wide)


def test_layout_of_the_release() -> None:
    encoder = DrivenEncoder(ModelConfig.preset("paper"))
    assert sum(p.numel() for p in encoder.parameters()) == 164_792
    layers = convolutions(encoder)
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in layers] == [
        (3, 3, 3, 1), (3, 16, 4, 2),
        (16, 16, 3, 1), (16, 32, 4, 2),
        (32, 32, 3, 1), (32, 64, 4, 2),
        (64, 64, 3, 1), (64, 128, 3, 1),
        (128, 4, 1, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("preset", "widths", "motion"),
    [("nano", [4, 8, 8, 16], 4), ("tiny", [4, 12, 24, 48], 8), ("small", [16, 32, 64, 128], 4)],
)
def test_widths_of_the_small_presets(preset: str, widths: list[int], motion: int) -> None:
    encoder = DrivenEncoder(ModelConfig.preset(preset))
    stages = convolutions(encoder)[1:-1:2]
    assert [stage.out_channels for stage in stages] == widths
    assert convolutions(encoder)[-1].out_channels == motion


def test_receptive_field_by_gradient() -> None:
    encoder = DrivenEncoder(ModelConfig.preset("nano")).double()
    driving = torch.rand(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    row, column = 15, 17
    gradient = (
        torch.autograd.grad(encoder(driving)[0, :, row, column].sum(), driving)[0].abs().amax(dim=(0, 1))
    )
    for extent, centre in ((gradient.amax(1), row), (gradient.amax(0), column)):
        touched = extent.nonzero().flatten()
        first, last = int(touched[0]), int(touched[-1])
        assert last - first + 1 == RECEPTIVE_FIELD_PX
        assert (first + last + 1) / 2 == 8 * centre + 4


def test_he_start_also_in_the_last_convolution() -> None:
    encoder = DrivenEncoder(ModelConfig.preset("paper"))
    for convolution in convolutions(encoder):
        fan_in = convolution.weight[0].numel()
        samples = convolution.weight.numel()
        assert convolution.weight.std().item() == pytest.approx(
            (2 / fan_in) ** 0.5, rel=4 / (2 * samples) ** 0.5
        )
        assert convolution.bias is not None
        assert convolution.bias.abs().max() == 0
    assert convolutions(encoder)[-1].weight.abs().max() > 0


@torch.no_grad()
def test_motion_starts_at_a_scale_near_one() -> None:
    """Dead at the start would be dead for ever; huge would swamp the latents once their weights move."""
    motion = DrivenEncoder(ModelConfig.preset("paper"))(torch.rand(2, 3, 64, 64))
    assert 0.05 < motion.std() < 5


@torch.no_grad()
def test_grey_is_the_zero_of_the_input() -> None:
    """Pictures in [0, 1] are centred, and SiLU and zero biases keep zero zero."""
    encoder = DrivenEncoder(ModelConfig.preset("nano"))

    def level(value: float) -> Tensor:
        return encoder(torch.full((1, 3, 64, 64), value)).abs().max()

    assert level(0.5) == 0
    assert level(0.0) > 0
    assert level(1.0) > 0
