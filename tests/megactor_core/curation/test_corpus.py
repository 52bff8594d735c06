"""A hundred synthetic clips, six in ten of them wrong in a known way: every rule finds what it is for.

Truth comes from the corpus: its faults, and for sizes, angles and offsets the numbers behind its pictures.
Clips whose truth lies within a quarter of a limit are left out for that rule: the corpus's faults lie further
past it. A rule is scored on the clips on which its truth is known; `audit` is 1, so everything is measured.
"""

import importlib.util
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megactor_core.config.curate import CurateConfig
from megactor_core.config.synth import SynthConfig
from megactor_core.curation.curate import curate
from megactor_core.curation.rules import RULES
from megactor_core.synthetic.corpus import make_corpus
from megactor_core.synthetic.truth import read_truth

pytestmark = pytest.mark.slow

CLIPS, SIZE_PX, SECONDS = 100, 128, 2.0
LEAST = 0.97

ConfigFor = Callable[..., CurateConfig]


def _truth() -> dict[str, Any]:
    """What is true of a clip by rule, which the benchmark asks too."""
    path = Path(__file__).parents[2] / "benchmarks" / "curation_truth.py"
    spec = importlib.util.spec_from_file_location("curation_truth", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.TRUTH)


TRUTH = _truth()


@pytest.fixture(scope="module")
def many_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SynthConfig(
        output=tmp_path_factory.mktemp("corpus") / "synthetic",
        clips=CLIPS,
        size=SIZE_PX,
        seconds=SECONDS,
        identities=CLIPS,
        workers=0,
        faults={"enabled": True, "share": 0.6},
    )
    make_corpus(config)
    return config.output


@pytest.fixture(scope="module")
def audited(many_clips: Path, config_for: ConfigFor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every clip with all measures."""
    output = tmp_path_factory.mktemp("audited")
    curate(config_for(many_clips, output=output, audit=1.0))
    return output


@pytest.fixture(scope="module")
def ordered(many_clips: Path, config_for: ConfigFor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every clip with early reject."""
    output = tmp_path_factory.mktemp("ordered")
    curate(config_for(many_clips, output=output))
    return output


def test_precision_and_recall_of_every_rule(
    many_clips: Path, audited: Path, config_for: ConfigFor, manifest: Any
) -> None:
    rules = config_for(output=audited).rules
    hits: dict[str, Counter[str]] = {rule.name: Counter() for rule in RULES}
    wrong: list[tuple[str, str, Any, Any]] = []
    for name, row in manifest(audited).items():
        truth = read_truth(many_clips / "truth" / f"{name}.parquet")
        broken = {reason.partition(":")[0]: reason for reason in row["reasons"]}
        for rule in hits:
            is_true = TRUTH.get(rule, lambda _truth, _rules: False)(truth, rules)
            if is_true is None:
                continue
            outcome = {(True, True): "hit", (True, False): "miss", (False, True): "false"}
            hits[rule][outcome.get((is_true, rule in broken), "pass")] += 1
            if is_true != (rule in broken):
                wrong.append((name, rule, truth.facts["fault"], broken.get(rule)))
    scores = {
        rule: (count["hit"], count["miss"], count["false"])
        for rule, count in hits.items()
        if count["hit"] + count["miss"] + count["false"]
    }
    assert scores.keys() >= TRUTH.keys()
    for rule, (hit, miss, false) in scores.items():
        assert hit >= 3, (rule, scores, wrong)
        assert hit / (hit + false) >= LEAST, (rule, scores, wrong)
        assert hit / (hit + miss) >= LEAST, (rule, scores, wrong)


def test_early_reject_decides_alike_and_measures_less(ordered: Path, audited: Path, manifest: Any) -> None:
    early, whole = manifest(ordered), manifest(audited)
    assert {name: row["keep"] for name, row in early.items()} == {n: row["keep"] for n, row in whole.items()}
    assert all(row["decodes"] <= 1 for row in early.values())
    decodes = sum(row["decodes"] for row in early.values()), sum(row["decodes"] for row in whole.values())
    assert decodes[0] < 0.75 * decodes[1]
