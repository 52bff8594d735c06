"""Jobs files: each format, what a job inherits, and messages that name the job."""

import json
from pathlib import Path

import pytest

from megactor_core.config.jobs import JobsConfig, journal_of, load_jobs
from megactor_core.config.recipes import Layer
from megactor_core.errors import ConfigError

JOBS = [{"reference": "ä 😀.png", "alpha": 0.5}, {"reference": "b.png", "output": "b.mp4"}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jobs.yaml", "- {reference: ä 😀.png, alpha: 0.5}\n- reference: b.png\n  output: b.mp4\n"),
        ("jobs.json", json.dumps(JOBS, indent="\t")),
        ("jobs.jsonl", "\n".join(map(json.dumps, JOBS)) + "\n\n"),
    ],
)
def test_every_format_gives_the_same_jobs(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    first, second = load_jobs(path, layers=())
    assert (first.reference, first.alpha) == (Path("ä 😀.png"), 0.5)
    assert (second.reference, second.output) == (Path("b.png"), Path("b.mp4"))


def test_a_job_wins_over_the_options(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text("- {alpha: 2}\n- {reference: a.png}\n")
    options = [Layer("option", "--alpha", {"alpha": 3}), Layer("option", "--seed", {"seed": 7})]
    configs = load_jobs(path, layers=options)
    assert [config.alpha for config in configs] == [2, 3]
    assert [config.seed for config in configs] == [7, 7]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("j.yaml", "", "must be a list of jobs"),
        ("j.yaml", "[]", "must be a list of jobs"),
        ("j.yaml", "alpha: 1", "must be a list of jobs"),
        ("j.yaml", "- 3", "job 1 holds a int"),
        ("j.yaml", "- {alpha: 1}\n- {alpha: 11}", "job 2: 'alpha' is 11"),
        ("j.yaml", "- {alpa: 1}", "job 1: 'alpa' is not a known key; did you mean 'alpha'?"),
        ("j.yaml", "- {output: a.mp4}\n- {output: a.mp4}", "2 jobs write 'a.mp4'"),
        ("j.yaml", "- {alpha: [}", "line 1, column 12"),
        ("j.json", "[{]", "line 1, column 3"),
        ("j.json", "[" * 100_000, "nested too deeply"),
        ("j.json", '[{"alpha": NaN}]', "finite number"),
        ("j.json", '[{"alpha": 1, "alpha": 2}]', "the key 'alpha' is given twice"),
        ("j.jsonl", '{"alpha": 1}\n{"alpha": }', "line 2"),
    ],
)
def test_a_wrong_jobs_file_is_one_message(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_jobs(path, layers=())
    assert message in caught.value.message
    assert str(path) in caught.value.message


def test_options_may_not_give_every_job_the_same_output(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text("- {alpha: 2}\n- {alpha: 3}\n")
    with pytest.raises(ConfigError, match=r"2 jobs write 'a\.mp4'"):
        load_jobs(path, layers=[Layer("option", "--output", {"output": "a.mp4"})])


def test_the_journal_lies_beside_the_jobs_file() -> None:
    assert journal_of(Path("lists/jobs.v2.yaml")) == Path("lists/jobs.v2.yaml.journal")


def test_a_worker_on_a_cluster_gets_one_job_at_a_time() -> None:
    assert JobsConfig().ray_batch_rows == 1
