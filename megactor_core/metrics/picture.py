"""Likeness of two pictures pixel by pixel: PSNR, SSIM and MS-SSIM, a number a frame.

All three take uint8 RGB (data range 0..255), compute in float64 and give each colour the same weight. SSIM
is that of Wang et al. 2004: a Gaussian window of 11x11 with a standard deviation of 1.5, only where it fits
whole, K1 = 0.01, K2 = 0.03, and no shrinking of large pictures. MS-SSIM is that of Wang et al. 2003 with five
scales.

Shape legend:
    F frames   H, W height and width   3 colours
"""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from megactor_core.metrics.frames import require_pair, require_side

DATA_RANGE: Final = 255.0
WINDOW_PX: Final = 11
WINDOW_SIGMA_PX: Final = 1.5
K1, K2 = 0.01, 0.03
SCALE_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, finest first (Wang et al. 2003)."""
SSIM_LEAST_PX: Final = WINDOW_PX
MS_SSIM_LEAST_PX: Final = WINDOW_PX * 2 ** (len(SCALE_WEIGHTS) - 1)
"""176: the window has to fit into the coarsest scale."""


def psnr(real: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Peak signal to noise ratio in dB, infinite for equal frames: (F, H, W, 3) uint8 twice -> (F,) float64.

    Raises MetricError where the two are not frames of one number and size.
    """
    require_pair(real, generated)
    errors = np.array(
        [np.square(a.astype(np.float64) - b).mean() for a, b in zip(real, generated, strict=True)]
    )
    with np.errstate(divide="ignore"):
        return 10 * np.log10(DATA_RANGE**2 / errors)


def ssim(real: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Structural similarity, 1 for equal frames: (F, H, W, 3) uint8 twice -> (F,) float64.

    Raises MetricError as `psnr` does, and for sides below 11 pixels.
    """
    return _each_frame(_ssim, real, generated, metric="SSIM", least_px=SSIM_LEAST_PX)


def ms_ssim(real: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Structural similarity over five scales, 1 for equal frames: (F, H, W, 3) uint8 twice -> (F,) float64.

    Contrast that is opposed on average in a scale counts as none. Raises MetricError as `psnr` does, and for
    sides below 176 pixels.
    """
    return _each_frame(_ms_ssim, real, generated, metric="MS-SSIM", least_px=MS_SSIM_LEAST_PX)


def _each_frame(
    compare: Callable[[np.ndarray, np.ndarray], float],
    real: np.ndarray,
    generated: np.ndarray,
    *,
    metric: str,
    least_px: int,
) -> np.ndarray:
    require_pair(real, generated)
    require_side(real, metric=metric, least_px=least_px)
    pairs = zip(real, generated, strict=True)
    return np.array([compare(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs])


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    luminance, contrast = _similarity(a, b)
    return float((luminance * contrast).mean())


def _ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Each colour's product over the scales, then their mean."""
    product = np.ones(3)
    for weight in SCALE_WEIGHTS[:-1]:
        _, contrast = _similarity(a, b)
        product *= np.maximum(0, contrast.mean(axis=(0, 1))) ** weight
        a, b = _halved(a), _halved(b)
    luminance, contrast = _similarity(a, b)
    whole = (luminance * contrast).mean(axis=(0, 1))
    return float((product * np.maximum(0, whole) ** SCALE_WEIGHTS[-1]).mean())


def _similarity(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The luminance term, and the contrast and structure terms together: (H, W, 3) -> (H - 10, W - 10, 3)."""
    c1, c2 = (K1 * DATA_RANGE) ** 2, (K2 * DATA_RANGE) ** 2
    mean_a, mean_b = _window(a), _window(b)
    mean_ab, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    variances = _window(a * a + b * b) - squares
    covariance = _window(a * b) - mean_ab
    return (2 * mean_ab + c1) / (squares + c1), (2 * covariance + c2) / (variances + c2)


def _window(values: np.ndarray) -> np.ndarray:
    """The weighted mean in the window, where it fits whole: (H, W, 3) -> (H - 10, W - 10, 3)."""
    reach = WINDOW_PX // 2
    kernel = cv2.getGaussianKernel(WINDOW_PX, WINDOW_SIGMA_PX, cv2.CV_64F)
    return cv2.sepFilter2D(values, -1, kernel, kernel)[reach:-reach, reach:-reach]


def _halved(values: np.ndarray) -> np.ndarray:
    """The mean of each 2x2 pixels; an odd last row or column is left out."""
    height, width = values.shape[0] // 2 * 2, values.shape[1] // 2 * 2
    even = values[:height, :width]
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
