"""The files for `accelerate launch --config_file` are ones that accelerate reads, and mean what they say."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

FOLDER = Path(__file__).resolve().parents[3] / "recipes" / "scripts" / "accelerate"
COMMAND = ["-m", "megactor_cli", "train", "--stage", "2"]

PROCESSES = {"one-gpu": (1, 1), "eight-gpus": (8, 1), "two-nodes": (16, 2), "fsdp": (8, 1)}


def test_every_file_is_looked_at() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == PROCESSES.keys()


@pytest.mark.parametrize("name", PROCESSES)
def test_accelerate_takes_the_file(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    config = load_config_from_file(str(path))
    assert (config.num_processes, config.num_machines) == PROCESSES[name]
    arguments = launch_command_parser().parse_args(["--config_file", str(path), *COMMAND])
    arguments, *_ = _validate_launch_command(arguments)
    assert arguments.mixed_precision == "bf16"
    assert (arguments.num_processes, arguments.num_machines) == PROCESSES[name]
    assert arguments.multi_gpu == (name in ("eight-gpus", "two-nodes"))
    assert arguments.use_fsdp == (name == "fsdp")
    assert arguments.module
    if name == "fsdp":
        assert int(arguments.fsdp_version) == 2
