"""Peak memory and CPU time of `animate` against the length of the clip: python tests/benchmarks/long_video.py

Each length runs in a process of its own, one thread, `tiny` at its native size with 4 steps. CPU time a frame
leaves out start-up, which is that of a clip of one frame.
"""

import json
import subprocess
import sys
import tempfile

RUN = """
import json, resource, sys
from pathlib import Path
import numpy as np, soundfile, torch
from megactor_core.animation.animate import animate
from megactor_core.config.animate import AnimateConfig
from megactor_core.demo.example import example
torch.set_num_threads(1)
seconds, folder = float(sys.argv[1]), Path(sys.argv[2])
given = example()
speech, audio_hz = soundfile.read(given.audio)
soundfile.write(folder / "speech.wav", np.resize(speech, round(seconds * audio_hz)), audio_hz)
animate(AnimateConfig(reference=given.reference, driving=given.driving, audio=folder / "speech.wav",
                      output=folder / "out.mp4", steps=4))
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"peak_mb": used.ru_maxrss / 1024, "cpu_seconds": used.ru_utime + used.ru_stime}))
"""


def measure(seconds: float) -> dict[str, float]:
    """Peak resident memory in MB and CPU seconds of one run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", RUN, str(seconds), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    start_up = measure(0.04)["cpu_seconds"]
    short, long = measure(10), measure(60)
    per_frame = [(run["cpu_seconds"] - start_up) / (25 * s) for run, s in ((short, 10), (long, 60))]
    sys.stdout.write(
        f"peak memory: 10 s {short['peak_mb']:.0f} MB, 60 s {long['peak_mb']:.0f} MB, "
        f"ratio {long['peak_mb'] / short['peak_mb']:.3f}\n"
        f"CPU a frame: 10 s {1000 * per_frame[0]:.1f} ms, 60 s {1000 * per_frame[1]:.1f} ms, "
        f"ratio {per_frame[1] / per_frame[0]:.3f}\n"
    )


if __name__ == "__main__":
    main()
