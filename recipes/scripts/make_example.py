"""The example of bare `megactor animate`: python recipes/scripts/make_example.py FOLDER

A portrait, a driving clip and speech of three people whom the default checkpoint has never seen or heard:
they are drawn from another seed than its corpus. Same file contents every time.
"""

import shutil
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import soundfile

from megactor_core.config.recipes import find_recipe, read_recipe
from megactor_core.config.synth import SynthConfig
from megactor_core.media.audio import read_sound, to_mono
from megactor_core.media.image import write_image
from megactor_core.media.video import read_video
from megactor_core.synthetic.corpus import make_corpus

SEED = 1001
PORTRAIT, DRIVING, SPEECH = 3, 1, 0
"""Clips of the corpus below."""
CHANGES = {"clips": 4, "identities": 4, "seconds": 4, "size": 256, "twins": False, "seed": SEED, "workers": 0}
AUDIO_HZ = 16_000
VIDEO_FPS = Fraction(25)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        settings = read_recipe(find_recipe("synth", "tiny")) | CHANGES | {"output": scratch}
        make_corpus(SynthConfig.build(settings, source=__file__))
        clips = [Path(scratch) / "clips" / f"synth-{number:06d}.mp4" for number in range(4)]
        write_image(folder / "portrait.png", next(iter(read_video(clips[PORTRAIT], video_fps=VIDEO_FPS))))
        shutil.copyfile(clips[DRIVING], folder / "driving.mp4")
        speech = to_mono(read_sound(clips[SPEECH]), audio_hz=AUDIO_HZ)
        soundfile.write(folder / "speech.wav", speech, AUDIO_HZ, subtype="PCM_16")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
