"""Writes tests/golden/train.json: the first losses of every stage, through the command line alone.

Run it after a deliberate change of the result, and look at the difference:

    python tests/golden/make_train_golden.py

A corpus of six clips is made and preprocessed, then the autoencoder and the three stages of `nano` train for
four steps each, one starting from the other.
"""

import json
import sys
import tempfile
from pathlib import Path

from megactor_cli.app import run

FILE = Path(__file__).with_name("train.json")
STEPS = 4
CORPUS = ["--clips=6", "--identities=6", "--seconds=1.6", "--size=128", "--seed=3"]
STAGES = {
    "autoencoder": ["--stage=autoencoder", "--preset=nano", "--set=autoencoder.fit_frames=32"],
    "stage1": ["--stage=1", "--preset=nano"],
    "stage2": ["--stage=2"],
    "stage3": ["--stage=3", "--set=draw.clip_frames=4"],
}
SETTINGS = [
    f"--steps={STEPS}",
    "--batch-size=4",
    "--learning-rate=1e-3",
    "--device=cpu",
    "--workers=2",
    "--set=draw.null_rate=0.2",
    "--set=validation_samples=0",
    "--set=ema.decay=0.5",
]


def measure(folder: Path) -> dict[str, list[float]]:
    """The losses of each run; everything it writes is below `folder`."""
    raw, data, init = folder / "raw", folder / "data", None
    command(["synth", *CORPUS, f"--output={raw}"])
    command(["preprocess", str(raw), "--size=64", f"--output={data}", "--workers=0"])
    losses = {}
    for name, arguments in STAGES.items():
        start = [] if init is None else [f"--init={init}"]
        output = folder / name
        command(["train", *arguments, *SETTINGS, *start, f"--data={data}", f"--output={output}"])
        lines = (output / "metrics.jsonl").read_text().splitlines()
        losses[name] = [json.loads(line)["loss"] for line in lines]
        init = output / "final"
    return losses


def command(arguments: list[str]) -> None:
    code = run([*arguments, "--quiet", "--json"])
    assert code == 0, f"{arguments[0]} ended with {code}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        FILE.write_text(json.dumps(measure(Path(scratch)), indent=1) + "\n")
    sys.stderr.write(f"wrote {FILE}\n")
