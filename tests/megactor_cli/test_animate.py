"""`megactor animate`: every option reaches its setting, and every mistake is one message."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from megactor_core.config.animate import AnimateConfig
from megactor_core.config.jobs import JobsConfig
from megactor_core.errors import FaceError


def test_every_option_reaches_its_setting(core, megactor) -> None:
    given = {
        "reference": ("r.png", Path("r.png")),
        "driving": ("d.mp4", Path("d.mp4")),
        "audio": ("a.wav", Path("a.wav")),
        "checkpoint": ("ckpt", Path("ckpt")),
        "output": ("o.mp4", Path("o.mp4")),
        "audio_scale": ("1.2", 1.2),
        "alpha": ("0.5", 0.5),
        "regions": ("eyes, mouth", ("eyes", "mouth")),
        "mask_mode": ("off", "off"),
        "steps": ("7", 7),
        "guidance": ("2.5", 2.5),
        "seed": ("3", 3),
        "fps": ("30000/1001", Fraction(30000, 1001)),
        "size": ("256", 256),
        "seconds": ("1.5", 1.5),
        "driving_end": ("stop", "stop"),
        "on_lost_face": ("skip", "skip"),
        "face": ("1", 1),
        "window_batch": ("2", 2),
        "device": ("cuda:1", "cuda:1"),
        "dtype": ("bfloat16", "bfloat16"),
    }
    flags = ["overwrite", "compare", "contact_sheet"]
    arguments = [part for name, (text, _) in given.items() for part in ("--" + name.replace("_", "-"), text)]
    arguments += ["--" + name.replace("_", "-") for name in flags]
    assert megactor("animate", *arguments).exit_code == 0
    expected = AnimateConfig(
        **{name: value for name, (_, value) in given.items()}, **dict.fromkeys(flags, True)
    )
    assert core.configs == [expected]


def test_options_win_over_set_over_recipe(core, megactor) -> None:
    result = megactor(
        "animate",
        "--recipe",
        "paper",
        "--set",
        "guidance=2",
        "--set",
        "steps=3",
        "--steps",
        "4",
        "--audio",
        "a",
    )
    assert result.exit_code == 0
    assert (core.configs[0].steps, core.configs[0].guidance) == (4, 2)


def test_without_inputs_the_example_is_used_and_said(core, megactor) -> None:
    result = megactor("animate", "--alpha", "0.5")
    assert result.exit_code == 0
    assert "built-in example" in result.err
    config = core.configs[0]
    assert (config.reference, config.driving, config.audio) == (Path("r.png"), Path("d.mp4"), Path("a.wav"))
    assert config.alpha == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--alpha", "11"], "Error: --alpha is '11', but must be at most 10.0.\n"),
        (["--alpha", "x"], "Error: --alpha is 'x', but must be a number.\n"),
        (["--steps", "1.5"], "Error: --steps is '1.5', but must be a whole number.\n"),
        (["--regions", "eye"], "Error: --regions is 'eye', but must be 'eyes' or 'mouth'.\n"),
        (["--regions", ","], "Error: regions is empty; leave --driving out to use no visual driver.\n"),
        (["--size", "100"], "Error: size = 100 is not a multiple of 32; use 96 or 128.\n"),
        (["--mask-mode", "of"], "Error: --mask-mode is 'of', but must be 'paper', 'strict' or 'off'.\n"),
        (["--fps", "fast"], "Error: --fps: 'fast' is not a rate such as 25, 29.97 or 30000/1001.\n"),
        (["--set", "alpa=1"], "Error: --set alpa is not a known key; did you mean 'alpha'?\n"),
        (["--recipe", "papr"], "Error: There is no recipe 'papr' for animate; did you mean 'paper'?\n"),
        (
            ["--jobs", "none.yaml"],
            "Error: jobs file 'none.yaml' cannot be read (No such file or directory).\n",
        ),
    ],
)
def test_a_wrong_value_is_one_message_and_exit_code_2(core, megactor, arguments, message) -> None:
    result = megactor("animate", *arguments)
    assert (result.exit_code, result.out, result.err) == (2, "", message)
    assert core.configs == []


@pytest.mark.parametrize("arguments", [["--alhpa", "1"], ["portrait.png"]])
def test_wrong_usage_points_to_the_help(core, megactor, arguments) -> None:
    result = megactor("animate", *arguments)
    assert (result.exit_code, result.out) == (2, "")
    assert result.err.startswith("Error: ")
    assert "megactor animate --help" in result.err
    assert result.err.count("\n") == 1


def test_json_is_one_object_on_stdout_and_nothing_else(core, megactor) -> None:
    result = megactor("animate", "--json", "--audio", "a.wav", "--output", "o.mp4")
    assert json.loads(result.out) == {"output": "o.mp4", "frames": 50}
    assert "a note from the core" in result.err


def test_json_tells_errors_on_stdout(core, megactor) -> None:
    result = megactor("animate", "--json", "--alpha", "11")
    assert result.exit_code == 2
    assert json.loads(result.out)["error"] == {
        "type": "ConfigError",
        "message": "--alpha is '11', but must be at most 10.0.",
        "fix": "",
        "exit_code": 2,
    }


def test_quiet_leaves_the_result_alone(core, megactor) -> None:
    result = megactor("animate", "--quiet", "--audio", "a.wav", "--output", "o.mp4")
    assert result.err == ""
    assert result.out.split() == ["output", "o.mp4", "frames", "50"]


def _fail_without_face(config: AnimateConfig) -> None:
    if config.reference == Path("b.png"):
        raise FaceError("No face in 'b.png'.", fix="Use another portrait.")


def test_a_failing_job_is_told_and_does_not_stop_the_rest(core, megactor, tmp_path) -> None:
    core.behave = _fail_without_face
    jobs = tmp_path / "jobs.yaml"
    jobs.write_text("- {reference: a.png}\n- {reference: b.png}\n- {reference: c.png, alpha: 2}\n")
    result = megactor("animate", "--jobs", "jobs.yaml", "--alpha", "0.5", "--json")
    assert result.exit_code == 1
    report = json.loads(result.out)
    assert report["failed"] == 1
    assert [job.get("output") for job in report["jobs"]] == ["outputs/video.mp4", None, "outputs/video.mp4"]
    assert report["jobs"][1]["error"]["message"] == "No face in 'b.png'."
    assert [config.alpha for config in core.configs] == [0.5, 0.5, 2]
    assert "job 2/3: No face in 'b.png'." in result.err


def test_jobs_without_failure_exit_with_0(core, megactor, tmp_path) -> None:
    (tmp_path / "jobs.jsonl").write_text('{"reference": "a.png"}\n')
    result = megactor("animate", "--jobs", "jobs.jsonl")
    assert result.exit_code == 0
    assert "outputs/video.mp4" in result.out
    assert core.spread == []


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--workers", "3"], {"workers": 3}),
        (["--engine", "local"], {}),
        (["--engine", "ray", "--ray-address", "auto"], {"engine": "ray", "ray_address": "auto"}),
    ],
)
def test_one_option_of_the_engine_gives_jobs_to_workers(
    core, megactor, tmp_path, arguments, settings
) -> None:
    core.behave = _fail_without_face
    (tmp_path / "jobs.yaml").write_text("- {reference: a.png}\n- {reference: b.png}\n")
    result = megactor("animate", "--jobs", "jobs.yaml", *arguments, "--json")
    assert core.spread == [(Path("jobs.yaml.journal"), JobsConfig(**settings))]
    assert result.exit_code == 1
    report = json.loads(result.out)
    assert report["failed"] == 1
    assert [job.get("output") for job in report["jobs"]] == ["outputs/video.mp4", None]
    notes = [line for line in result.err.splitlines() if line.startswith("job ")]
    assert notes == ["job 2/2: No face in 'b.png'. Use another portrait.", "job 1/2: outputs/video.mp4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "2"], "--workers is for many jobs. Add --jobs FILE, or leave it out."),
        (["--ray-address", "auto"], "--ray-address is for many jobs. Add --jobs FILE, or leave it out."),
        (["--jobs", "j.yaml", "--workers", "x"], "--workers is 'x', but must be a whole number."),
        (["--jobs", "j.yaml", "--engine", "rai"], "--engine is 'rai', but must be 'local' or 'ray'."),
    ],
)
def test_wrong_use_of_the_engine_is_one_message(core, megactor, tmp_path, arguments, message) -> None:
    (tmp_path / "j.yaml").write_text("- {reference: a.png}\n")
    result = megactor("animate", *arguments)
    assert (result.exit_code, result.out, result.err) == (2, "", f"Error: {message}\n")
    assert core.configs == []
