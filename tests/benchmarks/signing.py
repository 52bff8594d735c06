"""What signing a video costs beside animating it: python tests/benchmarks/signing.py

On the built-in example with every default: CPU time of `animate` with and without a signature, and of the
signing alone, in one process; then of a whole command, whose imports signing makes longer. Peak memory of
signing by size of the file.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from measure import CONTROL_TOLERANCE, interleaved, ratio, spread

from megactor_core.animation.animate import Animator
from megactor_core.animation.marks import open_key
from megactor_core.config.animate import AnimateConfig
from megactor_core.demo.example import example
from megactor_core.files import sha256_of
from megactor_core.listener import Listener
from megactor_core.provenance.manifest import Ingredient, Manifest
from megactor_core.provenance.sign import sign_video

LIMIT = 0.02
PROCESSES = 5
COMMAND = """
import sys, time
from megactor_cli.app import run
assert run(["animate", "--output", sys.argv[1], "--no-provenance", "--quiet"]) == 0
sys.stderr.write(str(time.process_time()))
"""
IMPORT = """
import time
start = time.process_time()
import c2pa, cryptography.x509
from cryptography.hazmat.primitives import serialization
print(time.process_time() - start)
"""
SIGN = """
import json, resource, sys
from pathlib import Path
from megactor_core.provenance.keys import local_key
from megactor_core.provenance.manifest import Manifest
from megactor_core.provenance.sign import sign_video
folder, size = Path(sys.argv[1]), int(sys.argv[2])
source = folder / "long.mp4"
source.write_bytes(Path(sys.argv[3]).read_bytes())
with source.open("ab") as file:  # as a long film has it: one large box of coded pictures
    file.write((size + 8).to_bytes(4, "big") + b"mdat")
    file.truncate(file.tell() + size)
sign_video(source, folder / "signed.mp4", manifest=Manifest("x", {}, ()), key=local_key())
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"peak_mb": used.ru_maxrss / 1024, "cpu_seconds": used.ru_utime + used.ru_stime}))
"""
SIZES = (100_000_000, 700_000_000, 1_400_000_000)


def fresh(code: str, *arguments: object) -> str:
    """What a new process with one thread prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stderr or done.stdout


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["MEGACTOR_HOME"] = str(folder / "home")
        animator, config = Animator(), example_config()

        def animate(name: str, *, provenance: bool) -> None:
            changed = config.updated(output=folder / f"{name}.mp4", provenance=provenance)
            animator.animate(changed, Listener())

        animate("unsigned", provenance=False)
        works = {
            "signed": partial(animate, "signed", provenance=True),
            "unsigned": partial(animate, "unsigned", provenance=False),
            "control": partial(animate, "control", provenance=False),
            "signing": partial(sign, config, folder / "unsigned.mp4", folder / "again.mp4"),
        }
        seconds = interleaved(works)
        imports = statistics.median(float(fresh(IMPORT)) for _ in range(PROCESSES))
        whole = statistics.median(float(fresh(COMMAND, folder / "fresh.mp4")) for _ in range(PROCESSES))
        signing = statistics.median(seconds["signing"])
        of_command = (imports + signing) / whole
        share = ratio(seconds["signing"], seconds["unsigned"])
        control = ratio(seconds["control"], seconds["unsigned"])
        sys.stdout.write(
            f"animate: {statistics.median(seconds['unsigned']):.2f} s of CPU time; control {control:.3f} "
            f"({spread(seconds['control'], seconds['unsigned'])})\n"
            f"signed / unsigned: {ratio(seconds['signed'], seconds['unsigned']):.3f} "
            f"({spread(seconds['signed'], seconds['unsigned'])})\n"
            f"signing alone: {1000 * signing:.1f} ms, {share:.2%} of the run\n"
            f"a whole command, unsigned: {whole:.2f} s; imports of signing {1000 * imports:.0f} ms; "
            f"signing with its imports {of_command:.2%} of it\n"
        )
        for size in SIZES:
            used = json.loads(fresh(SIGN, folder, size, folder / "unsigned.mp4"))
            sys.stdout.write(
                f"a file of {size / 1e6:.0f} MB: peak memory {used['peak_mb']:.0f} MB, "
                f"{used['cpu_seconds']:.1f} s of CPU time\n"
            )
    return int(abs(control - 1) > CONTROL_TOLERANCE or max(share, of_command) > LIMIT)


def example_config() -> AnimateConfig:
    given = example()
    return AnimateConfig(reference=given.reference, driving=given.driving, audio=given.audio)


def sign(config: AnimateConfig, source: Path, target: Path) -> None:
    """All that signing adds to a run: the key, the hashes of the inputs, the manifest."""
    key = open_key(config)
    assert key is not None
    files = [path for path in (config.reference, config.driving, config.audio) if path is not None]
    ingredients = tuple(Ingredient(path=path, sha256=sha256_of(path)) for path in files)
    manifest = Manifest(
        title=target.name, facts={"config": config.model_dump(mode="json")}, ingredients=ingredients
    )
    sign_video(source, target, manifest=manifest, key=key)


if __name__ == "__main__":
    sys.exit(main())
