"""The loss of a batch: what it depends on, and what it must not."""

from dataclasses import replace

import pytest
import torch

from megactor_core.config.model import ModelConfig
from megactor_core.config.train import LossConfig, TrainConfig
from megactor_core.models.checkpoint import draw_parts
from megactor_core.models.masks import RegionMask
from megactor_core.training.network import TrainedNetwork
from megactor_core.training.objective import Objective, attention_mask, draw_noise, loss_weight
from megactor_core.training.stages import STAGES

NANO = ModelConfig.preset("nano")
CPU = torch.device("cpu")
OF_A_FRAME = ("target_latent", "driving", "eyes", "mouth", "loss_weight", "audio")


def config_of(stage: int, **changes) -> TrainConfig:
    return TrainConfig.build({"stage": stage, **changes}, source="test")


def make_objective(config: TrainConfig) -> Objective:
    return Objective(config, NANO, autoencoder=None, device=CPU)


@pytest.fixture
def network() -> TrainedNetwork:
    """All layers drawn, so that every branch speaks; as stage 2 runs it."""
    parts = draw_parts(NANO, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in parts.sigma.parameters():
            parameter.normal_(std=0.1, generator=generator)
    return TrainedNetwork(parts.sigma, parts.audio_encoder, stage=STAGES[2])


def test_noise_belongs_to_a_sample_and_not_to_its_batch() -> None:
    t, eps = draw_noise([5, 9, 2], (1, 4, 8, 8), seed=3, time_steps=1000)
    for place, number in enumerate([5, 9, 2]):
        alone_t, alone_eps = draw_noise([number], (1, 4, 8, 8), seed=3, time_steps=1000)
        assert t[place] == alone_t[0]
        assert eps[place].equal(alone_eps[0])
    other_t, other_eps = draw_noise([5, 9, 2], (1, 4, 8, 8), seed=4, time_steps=1000)
    assert not t.equal(other_t)
    assert not eps.equal(other_eps)


def test_frames_apart_are_samples_that_share_a_reference(fake_source, monkeypatch) -> None:
    """Their loss is the mean of what each frame alone would have, with its own noise and time step."""
    model = NANO.updated(reference={"timestep": "zero"})
    parts = draw_parts(model, seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in parts.sigma.parameters():
        parameter.data.normal_(std=0.1, generator=generator)
    network = TrainedNetwork(parts.sigma, parts.audio_encoder, stage=STAGES[2])
    config = config_of(2, draw={"frames_per_reference": 3})
    batch = fake_source(stage=2, frames=3).batch(range(4))
    batch = replace(batch, target_latent=batch.target_latent + torch.arange(3.0).view(1, 3, 1, 1, 1))
    together = Objective(config, model, autoencoder=None, device=CPU)(network, batch).loss
    times, eps = draw_noise(range(4), (3, 4, 8, 8), seed=0, time_steps=1000, times=3)
    assert times.unique().numel() > 9
    alone = []
    for place in range(3):
        one = replace(batch, **{name: getattr(batch, name)[:, place : place + 1] for name in OF_A_FRAME})
        one_draw = times[:, place], eps[:, place : place + 1]
        monkeypatch.setattr("megactor_core.training.objective.draw_noise", lambda *_, it=one_draw, **__: it)
        alone.append(Objective(config_of(2), model, autoencoder=None, device=CPU)(network, one).loss)
    assert together.shape == (4,)
    assert torch.allclose(together, torch.stack(alone).mean(0), rtol=1e-5)


def test_frames_can_share_their_noise() -> None:
    t, eps = draw_noise([5, 9], (3, 4, 8, 8), seed=3, time_steps=1000, shared=True)
    assert t.shape == (2,)
    assert eps.shape == (2, 3, 4, 8, 8)
    assert eps[:, 1:].equal(eps[:, :-1])
    assert not eps[0].equal(eps[1])


def test_shared_noise_reaches_the_loss(network, fake_source) -> None:
    batch = fake_source(stage=3).batch(range(2))
    apart, shared = (
        make_objective(config_of(3, draw={"clip_frames": 4}, clip_noise=kind))(network, batch).loss
        for kind in ("independent", "shared")
    )
    assert not torch.allclose(apart, shared)


def test_a_reference_that_knows_the_time_cannot_be_shared() -> None:
    sigma = draw_parts(NANO, seed=0).sigma
    assert sigma.reference_time(torch.tensor([3, 4])).tolist() == [3, 4]
    with pytest.raises(ValueError, match="one for all frames"):
        sigma.reference_time(torch.tensor([[3, 4]]))


def test_time_steps_are_uniform_and_noise_is_normal() -> None:
    t, eps = draw_noise(range(4000), (4,), seed=0, time_steps=1000)
    assert t.min() >= 0
    assert t.max() <= 999
    counts = torch.histc(t.float(), bins=10, min=0, max=1000)
    assert (counts - 400).abs().max() < 4 * 400**0.5
    assert abs(float(eps.mean())) < 0.03
    assert abs(float(eps.std()) - 1) < 0.03


def test_losses_do_not_depend_on_batching(network, fake_source) -> None:
    source, objective = fake_source(stage=2), make_objective(config_of(2))
    together = objective(network, source.batch(range(9))).loss
    alone = torch.cat([objective(network, source.batch([number])).loss for number in range(9)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_no_gradient_reaches_predictions_inside_a_mouth_that_nothing_drives(fake_source) -> None:
    batch = fake_source().batch([1, 3, 0])  # mouths undriven, undriven, driven
    predicted: list[torch.Tensor] = []

    def network(noisy, t, **conditions):
        output = torch.cat([noisy, noisy * 0.1], dim=2).requires_grad_()
        predicted.append(output)
        return output

    make_objective(config_of(1))(network, batch).loss.sum().backward()
    gradient = predicted[0].grad
    assert gradient is not None
    inside = (batch.loss_weight == 0).expand_as(gradient)
    assert (batch.loss_weight == 0).flatten(1).any(1).tolist() == [True, True, False]
    assert (gradient[inside] == 0).all()
    assert (gradient[:, :, :4][~inside[:, :, :4]] != 0).all()  # the squared error's part
    assert gradient[:, :, 4:][~inside[:, :, 4:]].any()  # the bound's


def test_null_rows_are_the_null_branch_of_animate(network, fake_source) -> None:
    """The same as plain self-attention without reference keys, driver and sound."""
    batch = fake_source(stage=2).batch([6, 7])  # 6 is null
    assert batch.null.tolist() == [True, False]
    mask = attention_mask(batch, config_of(2), NANO)
    noisy, t = torch.randn(2, 1, 4, 8, 8), torch.tensor([500, 500])
    with torch.no_grad():
        trained = network(
            noisy,
            t,
            reference_latent=batch.reference_latent,
            driving=batch.driving,
            audio=batch.audio,
            speaks=batch.has_audio & ~batch.null,
            mask=mask,
        )
        sigma = network.sigma
        null = sigma.denoiser(
            noisy[:1],
            t[:1],
            motion=sigma.driven_encoder(torch.zeros(1, 3, 64, 64))[None],
            audio=torch.zeros(1, 1, NANO.audio.tokens, NANO.audio.width),
            use_temporal=False,
        )
    torch.testing.assert_close(trained[:1], null, rtol=1e-5, atol=1e-6)


def test_null_rows_know_nothing(network, fake_source) -> None:
    source = fake_source(stage=2)
    batch = source.batch([6])
    reference = batch.reference_latent.requires_grad_()
    noise = torch.randn(1, 1, 4, 8, 8)
    output = network(
        noise,
        torch.tensor([300]),
        reference_latent=reference,
        driving=batch.driving,
        audio=batch.audio,
        speaks=batch.has_audio & ~batch.null,
        mask=attention_mask(batch, config_of(2), NANO),
    )
    output.square().sum().backward()
    assert (reference.grad == 0).all()
    unused = [n for n, p in network.named_parameters() if n.startswith("sigma.reference") and p.grad is None]
    dead = {id(p) for p in network.sigma.reference.dead_parameters()}
    named = dict(network.named_parameters())
    assert all(id(named[name]) in dead for name in unused)  # no process waits for a gradient


def test_a_literal_mask_hides_the_reference_from_null_rows_too(network, fake_source) -> None:
    literal = NANO.updated(mask={"form": "literal"})
    batch = fake_source(stage=2).batch([6, 1])
    mask = attention_mask(batch, config_of(2), literal)
    assert isinstance(mask, RegionMask)
    assert mask.form == "literal"
    reference = batch.reference_latent.requires_grad_()
    output = network(
        torch.randn(2, 1, 4, 8, 8),
        torch.tensor([300, 300]),
        reference_latent=reference,
        driving=batch.driving,
        audio=batch.audio,
        speaks=batch.has_audio & ~batch.null,
        mask=mask,
    )
    output.square().sum().backward()
    assert (reference.grad[0] == 0).all()
    assert reference.grad[1].any()


def test_masks_are_where_eq_2_applies(fake_source) -> None:
    batch = fake_source(stage=2).batch(range(9))
    mask = attention_mask(batch, config_of(2), NANO)
    assert mask is not None
    rows = mask.rows.any(1)
    assert rows.equal(batch.mask_active & ~batch.null)
    assert attention_mask(fake_source().batch([0]), config_of(1), NANO) is None
    off = attention_mask(batch, config_of(2, mask_mode="off"), NANO)
    assert off is not None  # the null row still is
    assert not off.rows.any()
    strict = attention_mask(batch, config_of(2, mask_mode="strict"), NANO)
    assert strict is not None
    assert strict.rows[rows].equal(~batch.eyes.flatten(0, 1)[rows])


def test_stage_1_hears_nothing(network, fake_source) -> None:
    network.stage = STAGES[1]
    batch = fake_source(stage=2).batch([1])
    objective = make_objective(config_of(1))
    loss = objective(network, batch).loss
    loss.sum().backward()
    silent = [p.grad for n, p in network.named_parameters() if "audio" in n or ".temporal." in n]
    assert silent
    assert all(gradient is None for gradient in silent)


def test_audio_counts_where_the_sound_drives_only(network, fake_source) -> None:
    batch = fake_source(stage=2).batch([0, 1, 13])  # visual, audio, null
    audio = batch.audio.requires_grad_()
    make_objective(config_of(2))(network, batch).loss.sum().backward()
    assert [bool(gradient.any()) for gradient in audio.grad] == [False, True, False]


def test_plain_weights_are_those_of_the_batch(fake_source) -> None:
    batch = fake_source(stage=2).batch(range(9))
    assert loss_weight(batch, LossConfig()).equal(batch.loss_weight)


def test_region_weights_fall_on_their_regions(fake_source) -> None:
    batch = fake_source(stage=2).batch([0, 1, 3, 6])  # visual with mouth, audio, visual without, null
    weight = loss_weight(batch, LossConfig(mouth_weight=4, eyes_weight=3))
    mouth, eyes = weight[:, 0, 0, 4:6, 2:6], weight[:, 0, 0, 2:4, 2:6]  # tokens 9, 10 and 5, 6
    assert mouth.flatten(1).unique(dim=1).flatten().tolist() == [4, 4, 0, 1]
    assert eyes.flatten(1).unique(dim=1).flatten().tolist() == [3, 1, 3, 1]
    assert weight[:, 0, 0, :2].unique().tolist() == [1]


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_min_snr_bounds_the_weight_of_easy_steps(prediction, fake_source) -> None:
    model = NANO.updated(diffusion={"prediction": prediction, "learned_variance": False})
    batch = fake_source().batch(range(64))

    def network(noisy, t, **conditions):
        return torch.zeros_like(noisy)

    def losses(gamma: float | None):
        config = config_of(1, loss={"min_snr_gamma": gamma})
        return Objective(config, model, autoencoder=None, device=CPU)(network, batch)

    plain, bounded = losses(None), losses(5.0)
    t, _ = draw_noise(batch.index.tolist(), (1, 4, 8, 8), seed=0, time_steps=1000)
    alpha_bar = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).neg().add(1).cumprod(0)[t]
    snr = alpha_bar / (1 - alpha_bar)
    wanted = snr.clamp(max=5) / (snr if prediction == "eps" else snr + 1)
    torch.testing.assert_close((bounded.loss / plain.loss).double(), wanted, rtol=1e-4, atol=1e-6)
    assert bounded.mse.equal(plain.mse)
