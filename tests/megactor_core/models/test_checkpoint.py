"""Checkpoint folders: exact round trips, and one error in the user's words for every kind of damage."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperModel

from megactor_core.config.model import ModelConfig
from megactor_core.errors import ConfigError, OutputError, WeightsError
from megactor_core.models import checkpoint
from megactor_core.models.audio import LogMelEncoder, WhisperEncoder
from megactor_core.models.autoencoder import PatchAutoencoder
from megactor_core.models.checkpoint import (
    EMBEDDED,
    CheckpointInfo,
    init_checkpoint,
    load_checkpoint,
    load_sigma,
    save_checkpoint,
)
from megactor_core.models.sigma import Sigma

Randomise = Callable[[nn.Module], Any]


@pytest.fixture(scope="module")
def sound_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undamaged nano checkpoint; tests that damage one take a copy."""
    folder = tmp_path_factory.mktemp("checkpoints") / "nano"
    init_checkpoint(folder, preset="nano", seed=0)
    return folder


@pytest.fixture
def folder(sound_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound_folder, tmp_path / "nano"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sha256_by_file(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def seal(folder: Path) -> None:
    """Write a manifest that fits the files as they are now, as an attacker or a careless editor would."""
    (folder / "manifest.json").unlink()
    manifest = {name: {"sha256": sha256} for name, sha256 in sha256_by_file(folder).items()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def edit_json(path: Path, edit: Callable[[Any], object]) -> None:
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def prediction(sigma: Sigma) -> Tensor:
    """The model's answer to fixed inputs."""
    config, draw = sigma.config, torch.Generator().manual_seed(1)
    with torch.no_grad():
        return sigma(
            torch.randn(1, 2, config.latent_channels, 8, 8, generator=draw),
            torch.tensor([437]),
            reference_latent=torch.randn(1, config.latent_channels, 8, 8, generator=draw),
            driving=torch.rand(1, 2, 3, 64, 64, generator=draw),
            audio=torch.randn(1, 2, config.audio.tokens, config.audio.width, generator=draw),
        )


def info_of(config: ModelConfig) -> CheckpointInfo:
    return CheckpointInfo(name="test", trained=True, domain="noise", model=config)


def refusal(folder: Path) -> str:
    """The one-line message of the WeightsError that loading gives."""
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(folder)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
    return str(caught.value)


# Round trips


def test_round_trip_is_bit_equal(nano: ModelConfig, randomised: Randomise, tmp_path: Path) -> None:
    sigma = randomised(Sigma(nano))
    autoencoder, audio_encoder = (
        randomised(PatchAutoencoder(nano.autoencoder)),
        randomised(LogMelEncoder(nano)),
    )
    save_checkpoint(
        tmp_path / "saved",
        info=info_of(nano),
        sigma=sigma,
        autoencoder=autoencoder,
        audio_encoder=audio_encoder,
        card="# a card\n",
    )
    loaded = load_checkpoint(tmp_path / "saved")
    assert prediction(loaded.sigma).std() > 0.1
    assert torch.equal(prediction(loaded.sigma), prediction(sigma))
    pictures = torch.rand(1, 3, 64, 64)
    for name, weight in autoencoder.state_dict().items():
        assert torch.equal(loaded.autoencoder.network.state_dict()[name], weight)
    encoded = autoencoder.encode(2 * pictures - 1).detach()  # loaded for speed in another layout
    torch.testing.assert_close(loaded.autoencoder.encode(pictures), encoded, rtol=0, atol=1e-5)
    sound = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    tracks = [
        e.track(sound, video_fps=Fraction(25), frames=12) for e in (loaded.audio_encoder, audio_encoder)
    ]
    assert torch.equal(tracks[0].states, tracks[1].states)
    assert loaded.info == info_of(nano)
    assert loaded.config == nano
    assert (tmp_path / "saved" / "README.md").read_text() == "# a card\n"


def test_loaded_modules_are_ready_to_run_and_to_train(sound_folder: Path) -> None:
    loaded = load_checkpoint(str(sound_folder))
    assert not loaded.sigma.training
    assert not loaded.audio_encoder.training
    dead = {id(p) for p in loaded.sigma.reference.dead_parameters()}
    assert all(p.requires_grad == (id(p) not in dead) for p in loaded.sigma.parameters())
    assert not any(p.requires_grad for p in loaded.autoencoder.parameters())


def test_same_seed_same_bytes(sound_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(123)
    init_checkpoint(tmp_path / "again", preset="nano", seed=0)
    init_checkpoint(tmp_path / "other", preset="nano", seed=1)
    same, again, other = (sha256_by_file(f) for f in (sound_folder, tmp_path / "again", tmp_path / "other"))
    assert again == same
    assert [name for name in same if other[name] == same[name]] == ["config.json"]
    assert load_checkpoint(sound_folder).sha256 == same["manifest.json"]


def test_init_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    init_checkpoint(tmp_path / "new", preset="nano", seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_leaves_the_global_generator_alone(sound_folder: Path) -> None:
    before = torch.get_rng_state()
    load_checkpoint(sound_folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_init_reports_what_it_wrote(tmp_path: Path) -> None:
    report = init_checkpoint(tmp_path / "new", preset="nano", seed=3)
    assert report["seed"] == 3
    assert report["trained"] is False
    assert report["parameters"] == sum(
        p.numel() for p in load_checkpoint(tmp_path / "new").sigma.parameters()
    )
    assert report["bytes"] == sum(path.stat().st_size for path in (tmp_path / "new").iterdir())


def test_bfloat16_keeps_the_autoencoder_in_float32(sound_folder: Path) -> None:
    loaded = load_checkpoint(sound_folder, dtype=torch.bfloat16)
    assert {p.dtype for p in loaded.sigma.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in loaded.audio_encoder.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in loaded.autoencoder.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["sigma", "autoencoder", "audio_encoder"])
def test_half_precision_files_load(name: str, folder: Path) -> None:
    path = folder / f"{name}.safetensors"
    save_file({key: value.bfloat16() for key, value in load_file(path).items()}, path)
    seal(folder)
    assert {p.dtype for p in getattr(load_checkpoint(folder), name).parameters()} == {torch.float32}
    assert {p.dtype for p in load_sigma(folder)[1].parameters()} == {torch.float32}


# Damage


@pytest.mark.parametrize("name", ["sigma.safetensors", "autoencoder.safetensors", "config.json", "README.md"])
def test_flipped_byte_names_the_file(folder: Path, name: str) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    message = refusal(folder)
    assert name in message
    if name != "config.json":  # that one may stop being JSON first
        assert "damaged" in message
        assert hashlib.sha256(content).hexdigest()[:12] in message


@pytest.mark.parametrize(
    "name", ["sigma.safetensors", "autoencoder.safetensors", "config.json", "manifest.json"]
)
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in refusal(folder)


@pytest.mark.parametrize("name", ["autoencoder.safetensors", "audio_encoder.safetensors"])
def test_file_missing_from_folder_and_manifest_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    seal(folder)
    assert name in refusal(folder)


def test_no_folder_says_how_to_make_one(tmp_path: Path) -> None:
    assert "megactor weights init" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert "no checkpoint folder" in refusal(tmp_path / "file")


def break_manifest(name: str, entry: object) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "manifest.json", lambda manifest: manifest.update({name: entry}))


def leave_out(name: str) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "manifest.json", lambda manifest: manifest.pop(name))


def break_config(**changes: object) -> Callable[[Path], None]:
    def breaker(folder: Path) -> None:
        edit_json(folder / "config.json", lambda config: config.update(changes))
        seal(folder)

    return breaker


def break_model(**changes: object) -> Callable[[Path], None]:
    def breaker(folder: Path) -> None:
        edit_json(folder / "config.json", lambda config: config["model"].update(changes))
        seal(folder)

    return breaker


def overwrite(name: str, content: bytes) -> Callable[[Path], None]:
    def breaker(folder: Path) -> None:
        (folder / name).write_bytes(content)
        if name != "manifest.json":
            seal(folder)

    return breaker


def truncate(folder: Path) -> None:
    path = folder / "sigma.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    seal(folder)


def integers_for_weights(folder: Path) -> None:
    tensors = load_file(folder / "sigma.safetensors")
    save_file({name: value.to(torch.int32) for name, value in tensors.items()}, folder / "sigma.safetensors")
    seal(folder)


def another_tensor(folder: Path) -> None:
    tensors = load_file(folder / "sigma.safetensors")
    save_file({**tensors, "surplus": torch.zeros(2)}, folder / "sigma.safetensors")
    seal(folder)


HUGE_HEADER = (2**62).to_bytes(8, "little") + b"{}"
BREAKERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "manifest climbs out": (break_manifest("../x", {"sha256": "0"}), "'../x'"),
    "manifest names a path": (break_manifest("/etc/passwd", {"sha256": "0"}), "'/etc/passwd'"),
    "manifest entry is text": (break_manifest("config.json", "0"), "bad entry 'config.json'"),
    "manifest without hash": (break_manifest("config.json", {}), "config.json"),
    "manifest is a list": (overwrite("manifest.json", b"[]"), "a list"),
    "manifest is empty": (overwrite("manifest.json", b"{}"), "does not list sigma.safetensors"),
    "manifest leaves the codec out": (leave_out("autoencoder.safetensors"), "does not list autoencoder"),
    "weights are truncated": (truncate, "sigma.safetensors"),
    "weights are a pickle": (overwrite("sigma.safetensors", pickle.dumps({"a": 1})), "sigma.safetensors"),
    "weights are empty": (overwrite("sigma.safetensors", b""), "sigma.safetensors"),
    "header is huge": (overwrite("sigma.safetensors", HUGE_HEADER), "sigma.safetensors"),
    "weights are integers": (integers_for_weights, "sigma.safetensors"),
    "weights have a surplus tensor": (another_tensor, "'surplus'"),
    "config is not JSON": (overwrite("config.json", b"depth: 4"), "config.json"),
    "config is not text": (overwrite("config.json", b"\xff\xfe\x00"), "config.json"),
    "config is nested too deep": (overwrite("config.json", b"[" * 200_000), "config.json"),
    "config is huge": (overwrite("config.json", b" " * 1_000_001), "1000001 bytes"),
    "config is a list": (overwrite("config.json", b"[1]"), "a list"),
    "config is of another format": (break_config(format=99), "format 99, this version reads format 1"),
    "config has no format": (break_config(format=None), "format None"),
    "config has an unknown key": (break_config(trainde=True), "did you mean 'trained'"),
    "model has an unknown key": (break_model(dephts=4), "did you mean 'model.depth'"),
    "model does not divide": (break_model(hidden=65), "65 is not a multiple of 32"),
    "model is deeper than the weights": (break_model(depth=6), "missing"),
    "model is shallower than the weights": (break_model(depth=2), "no such tensor"),
    "model is wider than the weights": (break_model(hidden=96), "config.json asks for"),
    "codec has too many channels": (
        break_model(autoencoder={"kind": "patch", "latent_channels": 17}),
        "latent_channels = 17",
    ),
}


@pytest.mark.parametrize("kind", BREAKERS)
def test_damage_gives_one_error(folder: Path, kind: str) -> None:
    damage, said = BREAKERS[kind]
    damage(folder)
    assert said in refusal(folder)


# Writing


def test_existing_folder_is_left_untouched(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    before = sha256_by_file(folder)
    with pytest.raises(OutputError, match="exists already"):
        init_checkpoint(folder, preset="nano", seed=1)
    assert sha256_by_file(folder) == before


def test_unknown_preset_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'nano'"):
        init_checkpoint(tmp_path / "new", preset="nan", seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_interrupted_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def write_half(tensors: object, path: Path, metadata: object) -> None:
        if path.name == "autoencoder.safetensors":
            path.write_bytes(b"half")
            raise error("stopped")

    monkeypatch.setattr(checkpoint, "save_file", write_half)
    with pytest.raises(error, match="stopped"):
        init_checkpoint(tmp_path / "new", preset="nano", seed=0)
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_checkpoint() -> None:
    loaded = load_checkpoint(EMBEDDED)
    assert (loaded.info.name, loaded.info.trained, loaded.info.stage) == ("sigma-tiny", True, 3)
    assert "synthetic faces" in loaded.info.domain
    preset = ModelConfig.preset("tiny")
    assert loaded.config.updated(autoencoder=preset.autoencoder.model_dump()) == preset
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir()) <= 20e6
    assert sum(path.stat().st_size for path in EMBEDDED.parent.rglob("*") if path.is_file()) <= 25e6


# Public encoders


def whisper_checkpoint(folder: Path, nano: ModelConfig, *, name: str) -> Path:
    """A checkpoint whose audio encoder is a Whisper of width 32 that config.json names."""
    config = nano.updated(audio={"encoder": "whisper", "whisper": name, "width": 32})
    codec = PatchAutoencoder(config.autoencoder)
    save_checkpoint(
        folder, info=info_of(config), sigma=Sigma(config), autoencoder=codec, audio_encoder=None, card=""
    )
    return folder


def kl_checkpoint(folder: Path, nano: ModelConfig, *, name: str) -> Path:
    """A checkpoint whose autoencoder is an AutoencoderKL that config.json names."""
    config = nano.updated(autoencoder={"kind": "kl", "name": name})
    save_checkpoint(
        folder,
        info=info_of(config),
        sigma=Sigma(config),
        autoencoder=None,
        audio_encoder=LogMelEncoder(config),
        card="",
    )
    return folder


def save_whisper(folder: Path, *, width: int = 32, layers: int = 4, network: Any = WhisperModel) -> None:
    config = WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        vocab_size=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        begin_suppress_tokens=None,
    )
    network(config).save_pretrained(folder)


def save_kl(folder: Path, *, latent_channels: int = 4, levels: int = 4) -> None:
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8,) * levels,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=latent_channels,
    ).save_pretrained(folder)


def test_whisper_inside_the_checkpoint_loads(nano: ModelConfig, tmp_path: Path) -> None:
    folder = whisper_checkpoint(tmp_path / "saved", nano, name="whisper")
    save_whisper(folder / "whisper")
    loaded = load_checkpoint(folder)
    assert isinstance(loaded.audio_encoder, WhisperEncoder)
    track = loaded.audio_encoder.track(np.zeros(16_000, dtype=np.float32), video_fps=Fraction(25), frames=25)
    assert track.tokens(torch.arange(25)).shape == (25, 50, 32)


def test_whisper_at_a_path_of_its_own_loads(nano: ModelConfig, tmp_path: Path) -> None:
    save_whisper(tmp_path / "elsewhere")
    folder = whisper_checkpoint(tmp_path / "saved", nano, name=str(tmp_path / "elsewhere"))
    assert isinstance(load_checkpoint(folder).audio_encoder, WhisperEncoder)


def test_kl_inside_the_checkpoint_loads(nano: ModelConfig, tmp_path: Path) -> None:
    folder = kl_checkpoint(tmp_path / "saved", nano, name="vae")
    save_kl(folder / "vae")
    loaded = load_checkpoint(folder)
    assert loaded.autoencoder.encode(torch.rand(1, 3, 64, 64)).shape == (1, 4, 8, 8)
    assert loaded.autoencoder.scaling_factor == 0.18215


def test_published_layouts_load_whole(nano: ModelConfig, tmp_path: Path) -> None:
    """The hub's Whisper is the whole speech recogniser, and its SD autoencoders use attention's old names."""
    whisper = whisper_checkpoint(tmp_path / "whisper", nano, name="encoder")
    save_whisper(whisper / "encoder", network=WhisperForConditionalGeneration)
    assert isinstance(load_checkpoint(whisper).audio_encoder, WhisperEncoder)
    kl = kl_checkpoint(tmp_path / "kl", nano, name="vae")
    save_kl(kl / "vae")
    path = kl / "vae" / "diffusion_pytorch_model.safetensors"
    old_names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = load_file(path)
    for new, old in old_names.items():
        tensors = {name.replace(new, old): value for name, value in tensors.items()}
    before = load_checkpoint(kl).autoencoder.state_dict()
    save_file(tensors, path, metadata={"format": "pt"})
    after = load_checkpoint(kl).autoencoder.state_dict()
    assert any(".query." in name for name in tensors)
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.usefixtures("cache")
def test_public_name_that_is_not_pulled_names_the_command(nano: ModelConfig, tmp_path: Path) -> None:
    whisper = whisper_checkpoint(tmp_path / "whisper", nano, name="whisper-tiny")
    assert "megactor weights pull whisper-tiny" in refusal(whisper)
    kl = kl_checkpoint(tmp_path / "kl", nano, name="sd-vae-ft-mse")
    assert "megactor weights pull sd-vae-ft-mse" in refusal(kl)


@pytest.mark.usefixtures("cache")
def test_unknown_public_name_offers_the_nearest(nano: ModelConfig, tmp_path: Path) -> None:
    folder = whisper_checkpoint(tmp_path / "saved", nano, name="whisper-tyni")
    assert "whisper-tiny" in refusal(folder)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"width": 48}, "audio width 48, the checkpoint needs 32"),
        ({"layers": 6}, "encoder states 7, the checkpoint needs 5"),
    ],
)
def test_whisper_of_another_size_is_refused(
    nano: ModelConfig, tmp_path: Path, size: dict[str, int], said: str
) -> None:
    folder = whisper_checkpoint(tmp_path / "saved", nano, name="whisper")
    save_whisper(folder / "whisper", **size)
    assert said in refusal(folder)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"latent_channels": 8}, "latent channels 8, the checkpoint needs 4"),
        ({"levels": 3}, "a stride of 4, the checkpoint needs 8"),
    ],
)
def test_kl_of_another_size_is_refused(
    nano: ModelConfig, tmp_path: Path, size: dict[str, int], said: str
) -> None:
    folder = kl_checkpoint(tmp_path / "saved", nano, name="vae")
    save_kl(folder / "vae", **size)
    assert said in refusal(folder)


def empty_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def no_weights(folder: Path) -> None:
    next(folder.glob("*.safetensors")).unlink()


def truncated_weights(folder: Path) -> None:
    path = next(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:1000])


def config_of_text(folder: Path) -> None:
    (folder / "config.json").write_text("not JSON")


def config_of_a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")


def tensor_left_out(folder: Path) -> None:
    """The libraries would draw it at random and go on."""
    path = next(folder.glob("*.safetensors"))
    tensors = load_file(path)
    save_file(dict(list(tensors.items())[1:]), path, metadata={"format": "pt"})


def config_of_another_width(folder: Path) -> None:
    edit_json(folder / "config.json", lambda c: c.update({"d_model": 64, "block_out_channels": [16] * 4}))


@pytest.mark.parametrize(
    "damage",
    [
        empty_folder,
        no_weights,
        truncated_weights,
        tensor_left_out,
        config_of_text,
        config_of_a_list,
        config_of_another_width,
    ],
)
@pytest.mark.parametrize("network", ["whisper", "vae"])
@pytest.mark.filterwarnings("ignore:It is deprecated to pass a pretrained model name:FutureWarning")
def test_damaged_public_encoders_give_one_error(
    nano: ModelConfig, tmp_path: Path, network: str, damage: Callable[[Path], None]
) -> None:
    if network == "whisper":
        folder = whisper_checkpoint(tmp_path / "saved", nano, name=network)
        save_whisper(folder / network)
    else:
        folder = kl_checkpoint(tmp_path / "saved", nano, name=network)
        save_kl(folder / network)
    damage(folder / network)
    assert str(folder / network) in refusal(folder)
