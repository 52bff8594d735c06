"""The scripts for a laptop, Slurm and Kubernetes: what they run is what the tools take."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from megactor_cli.app import make_app
from megactor_core.config.curate import CurateConfig
from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.recipes import load_config

HOST = os.uname().nodename
FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "scripts"
SCRIPTS = ("laptop", "slurm", "kubernetes")
CONFIGS = {"curate": CurateConfig, "preprocess": PreprocessConfig}
OPTIONS = ("--set", "batch_seconds=30")
RECORD = """#!/bin/sh
line=${0##*/}
for word in "$@"; do line=$(printf '%s\\t%s' "$line" "$word"); done
printf '%s\\n' "$line" >> "$CALLS"
"""
"""A program that notes how it was called, in one piece: several run at once."""
BUSY = RECORD + "exec /bin/sleep 60\n"
NODES = '#!/bin/sh\ngrep -c ^srun "$CALLS"\n'
"""As many nodes are alive as have been started."""
KUBECTL = RECORD + 'test "$1" = get && echo pod/head || true\n'
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_CPUS_PER_TASK": "16",
    "SLURM_GPUS_ON_NODE": "4",
    "SLURMD_NODENAME": "n1",
}

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def calls_file(tmp_path: Path) -> Path:
    return tmp_path / "calls"


@pytest.fixture
def start(tmp_path: Path, calls_file: Path) -> Iterator[Start]:
    """Starts a script with programs that only note how they are called."""
    programs = tmp_path / "programs"
    programs.mkdir()
    scripts: list[subprocess.Popen[bytes]] = []

    def start_script(name: str, *words: str, megactor: str = RECORD, **variables: str) -> Any:
        for program, text in {
            **{"megactor": megactor, "scontrol": RECORD, "srun": BUSY, "python": NODES},
            **{"kubectl": KUBECTL, "sleep": "#!/bin/sh\nexec /bin/sleep 0.1\n"},
        }.items():
            (programs / program).write_text(text)
            (programs / program).chmod(0o755)
        script = subprocess.Popen(
            ["bash", FOLDER / f"curate-{name}.sh", *words],
            cwd=tmp_path,
            env={"PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls_file), **SLURM, **variables},
        )
        scripts.append(script)
        return script

    yield start_script
    for script in scripts:
        script.kill()
        script.wait()


def calls_in(file: Path) -> list[list[str]]:
    return [line.split("\t") for line in file.read_text().splitlines()] if file.exists() else []


def calls_of(script: subprocess.Popen[bytes], file: Path) -> list[list[str]]:
    """What a script called, once it has ended well."""
    assert script.wait(timeout=60) == 0
    return calls_in(file)


def megactor_calls(calls: list[list[str]]) -> list[list[str]]:
    """The words after `megactor`, wherever it stands in a call."""
    return [call[call.index("megactor") + 1 :] for call in calls if "megactor" in call]


def config_of(call: list[str]) -> Any:
    """The configuration that a command line means, by the program's own parser; raises where it is none."""
    command: Any = get_command(make_app(call[0])).commands[call[0]]
    with command.make_context(call[0], call[1:]) as context:
        given = dict(context.params)
    fields = CONFIGS[call[0]].model_fields
    return load_config(
        CONFIGS[call[0]],
        command=call[0],
        recipe=given["recipe"],
        overrides=given["overrides"] or (),
        options={name: value for name, value in given.items() if name in fields},
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_reads_the_script_and_it_says_what_it_does(name: str) -> None:
    path = FOLDER / f"curate-{name}.sh"
    subprocess.run(["bash", "-n", path], check=True)
    text = path.read_text(encoding="utf-8")
    assert os.access(path, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert "\nset -euo pipefail\n" in text
    assert f"recipes/scripts/{path.name} SOURCE" in text
    assert not re.search(r"/(home|root|Users)/", text)


def test_a_laptop_is_told_the_cost_then_curates_and_preprocesses(
    start: Start, tmp_path: Path, calls_file: Path
) -> None:
    script = start("laptop", "my clips", "out", *OPTIONS, RECIPE="tiny", WORKERS="3")
    calls = megactor_calls(calls_of(script, calls_file))
    assert [call[0] for call in calls] == ["curate", "curate", "preprocess"]
    assert "--dry-run" in calls[0]
    curate, preprocess = map(config_of, calls[1:])
    assert (curate.engine, curate.workers, curate.batch_seconds) == ("local", 3, 30)
    assert curate.sources == (Path("my clips"),)
    assert curate.rules.min_face_px == 32, "the recipe tiny's"
    assert preprocess.source == curate.output == Path("out/curated")
    assert (preprocess.output, preprocess.workers) == (Path("out/processed"), 3)
    (tmp_path / "out" / "curated").mkdir(parents=True)
    again = megactor_calls(calls_of(start("laptop", "my clips", "out"), calls_file))[3:]
    assert [call[0] for call in again] == ["curate", "preprocess"], "what goes on is not foretold again"


@pytest.mark.parametrize(("name", "address"), [("slurm", f"{HOST}:6379"), ("kubernetes", "auto")])
def test_a_cluster_runs_both_on_ray(name: str, address: str, start: Start, calls_file: Path) -> None:
    variables = {"RECIPE": "paper", "PREPROCESS_RECIPE": "paper", "RAY_GPUS": "0.25"}
    calls = megactor_calls(calls_of(start(name, "clips", "out", *OPTIONS, **variables), calls_file))
    assert [call[0] for call in calls] == ["curate", "preprocess"]
    curate, preprocess = map(config_of, calls)
    for config in (curate, preprocess):
        assert (config.engine, config.ray_address, config.ray_gpus) == ("ray", address, 0.25)
        assert config.batch_seconds == 30
    assert curate.measure.landmarks == "dwpose", "the recipe paper's"
    assert preprocess.audio_features == "whisper"
    assert preprocess.source == curate.output == Path("out/curated")


def test_slurm_starts_a_head_here_and_ray_on_the_other_nodes(
    start: Start, tmp_path: Path, calls_file: Path
) -> None:
    calls = [call for call in calls_of(start("slurm", "clips", "out"), calls_file) if call[0] == "srun"]
    head, workers = sorted(calls, key=lambda call: "--head" not in call)
    assert {"--nodes=1", "--nodelist=n1", "--cpus-per-task=16", "--no-kill"} <= set(head)
    assert {"--nodes=1", "--exclude=n1", "--cpus-per-task=16", "--no-kill"} <= set(workers)
    assert {"--head", "--num-cpus=15", "--num-gpus=4"} <= set(head), "a core is the command's own"
    assert {f"--address={HOST}:6379", "--num-cpus=16"} <= set(workers)
    assert list((tmp_path / "out").glob(".ray-token*")) == [], "the secret goes with the job"


def test_slurm_ends_the_command_and_queues_the_job_again_when_the_time_is_up(
    start: Start, calls_file: Path
) -> None:
    script = start("slurm", "clips", "out", megactor=BUSY)
    while not megactor_calls(calls_in(calls_file)):
        assert script.poll() is None
        time.sleep(0.05)
    script.send_signal(signal.SIGUSR1)
    calls = calls_of(script, calls_file)
    assert calls[-1] == ["scontrol", "requeue", "7"]
    assert [call[0] for call in megactor_calls(calls)] == ["curate"], "nothing new is begun"


def test_the_failure_of_a_command_is_that_of_the_job(start: Start, calls_file: Path) -> None:
    script = start("slurm", "clips", "out", megactor=RECORD + "exit 2\n")
    assert script.wait(timeout=60) == 2
    assert [call[0] for call in megactor_calls(calls_in(calls_file))] == ["curate"]


def test_ray_takes_the_options_that_it_is_started_with(start: Start, calls_file: Path) -> None:
    ray_start = ray_start_command()
    calls = calls_of(start("slurm", "clips", "out"), calls_file)
    started = [call[call.index("start") + 1 :] for call in calls if call[0] == "srun"]
    assert len(started) == 2
    for options in started:
        ray_start.make_context("start", options).close()
    for group in ray_groups():
        options = [f"--{name}={value}" for name, value in group["rayStartParams"].items()]
        ray_start.make_context("start", options).close()


def ray_start_command() -> Any:
    pytest.importorskip("ray")
    from ray.scripts.scripts import start

    return start


def ray_groups() -> list[dict[str, Any]]:
    """The head and the groups of workers of the cluster on Kubernetes."""
    *_, cluster = yaml.safe_load_all((FOLDER / "kubernetes" / "ray-cluster.yaml").read_text(encoding="utf-8"))
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    return [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]


def test_every_pod_sees_the_one_volume_and_the_weights_on_it() -> None:
    claim, cluster = yaml.safe_load_all(
        (FOLDER / "kubernetes" / "ray-cluster.yaml").read_text(encoding="utf-8")
    )
    assert claim["kind"] == "PersistentVolumeClaim"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in ray_groups():
        pod = group["template"]["spec"]
        (volume,), (container,) = pod["volumes"], pod["containers"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/data"}]
        assert {"name": "MEGACTOR_CACHE", "value": "/data/weights"} in container["env"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "KubeRay's schema"
        assert container["resources"]["limits"] == container["resources"]["requests"]
    assert cluster["spec"]["authOptions"] == {"mode": "token"}


def test_one_group_has_cores_alone_and_one_has_gpus() -> None:
    head, cpu, gpu = (group["template"]["spec"]["containers"][0] for group in ray_groups())
    assert "nvidia.com/gpu" not in cpu["resources"]["limits"]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert ray_groups()[0]["rayStartParams"]["num-cpus"] == "0"
    assert head["image"] == cpu["image"] == gpu["image"]


def test_the_cluster_has_the_ray_that_the_project_is_tested_with() -> None:
    *_, cluster = yaml.safe_load_all((FOLDER / "kubernetes" / "ray-cluster.yaml").read_text(encoding="utf-8"))
    pins = (FOLDER.parents[1] / "constraints.txt").read_text(encoding="utf-8")
    assert f"\nray=={cluster['spec']['rayVersion']}\n" in pins
