"""The claims, by numbers: fit the gauge, then measure a checkpoint on held-out synthetic clips.

    megactor synth --recipe tiny --seed 7001 --clips 12 --identities 12 --seconds 3 --output data/held-out/raw
    megactor preprocess data/held-out/raw --recipe tiny --output data/held-out/processed

    python recipes/scripts/claims.py fit-gauge --set data=data/processed --set corpus=data/raw/synthetic
    python recipes/scripts/claims.py measure --set checkpoint=runs/stage2/final
    python recipes/scripts/claims.py measure --set checkpoint=runs/stage3/final \
        --set before=runs/stage2/final --set 'claims=[table3, temporal]'

Settings are those of megactor_core/config/gauge.py and claims.py. The tables go to the terminal as Markdown
and lie beside claims.json and the pictures in the output folder.
"""

import argparse
import sys
from collections.abc import Sequence

from megactor_core.config.claims import ClaimsConfig
from megactor_core.config.gauge import GaugeConfig
from megactor_core.config.recipes import build_config, parse_override
from megactor_core.errors import MegActorError

PROGRESS_STEPS = 10
"""Lines of progress a phase."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("fit-gauge", "measure"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting")
    given = parser.parse_args(arguments)
    try:
        layers = [parse_override(text) for text in given.set]
        if given.command == "fit-gauge":
            _fit_gauge(build_config(GaugeConfig, layers))
        else:
            _measure(build_config(ClaimsConfig, layers))
    except MegActorError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    return 0


def _fit_gauge(config: GaugeConfig) -> None:
    from megactor_core.evaluation.gauge_fit import fit_gauge, gauge_page

    sys.stdout.write(gauge_page(fit_gauge(config, on_progress=_progress)))


def _measure(config: ClaimsConfig) -> None:
    from megactor_core.evaluation.claims import measure_claims

    sys.stdout.write(measure_claims(config, on_progress=_progress, on_note=_note).page)


def _progress(phase: str, done: int, total: int) -> None:
    if done * PROGRESS_STEPS // total > (done - 1) * PROGRESS_STEPS // total:
        sys.stderr.write(f"{phase}: {done}/{total}\n")


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
