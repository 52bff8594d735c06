"""PSNR, SSIM and MS-SSIM: against scikit-video, against their formulas written out, and what they mean."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from megactor_core.errors import MetricError
from megactor_core.media import scikit_video
from megactor_core.metrics.picture import ms_ssim, psnr, ssim

Pictures = Callable[..., np.ndarray]


def test_psnr_of_a_known_error(pictures: Pictures) -> None:
    real = np.clip(pictures(2, 16, 20), 10, 240)
    np.testing.assert_allclose(psnr(real, real + np.uint8(5)), 20 * np.log10(255 / 5))
    assert np.isinf(psnr(real, real)).all()


def test_ssim_parity_with_its_formula_at_one_window(pictures: Pictures, noisy: Pictures) -> None:
    real = pictures(1, 11, 11)
    other = noisy(real, deviation=12)
    distance = np.arange(-5, 6) ** 2
    weights = np.exp(-(distance[:, None] + distance[None]) / (2 * 1.5**2))
    weights /= weights.sum()
    expected = []
    for a, b in zip(real[0].transpose(2, 0, 1) * 1.0, other[0].transpose(2, 0, 1) * 1.0, strict=True):
        mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
        variance_a = (weights * (a - mean_a) ** 2).sum()
        variance_b = (weights * (b - mean_b) ** 2).sum()
        covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
        c1, c2 = 2.55**2, 7.65**2
        luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        expected.append(luminance * (2 * covariance + c2) / (variance_a + variance_b + c2))
    assert ssim(real, other)[0] == pytest.approx(np.mean(expected), rel=1e-12)


def test_psnr_and_ssim_parity_with_scikit_video(pictures: Pictures, noisy: Pictures) -> None:
    real = pictures(3, 90, 121, grey=True)
    other = noisy(real, deviation=9)
    grey = real[..., 0], other[..., 0]
    np.testing.assert_allclose(psnr(real, other), scikit_video.compare("psnr", *grey), rtol=1e-12)
    np.testing.assert_allclose(ssim(real, other), scikit_video.compare("ssim", *grey), rtol=1e-4)


def test_ms_ssim_parity_with_scikit_video(pictures: Pictures, noisy: Pictures) -> None:
    real = pictures(2, 181, 195, grey=True)
    other = noisy(real, deviation=9)
    grey = real[..., 0], other[..., 0]
    # scikit-video takes the coarsest scale, the mean of 16x16 pixels, without its exponent.
    wide = [frames[:, :, :192].astype(np.float64) for frames in grey]
    coarse = [
        np.stack([cv2.resize(f[:176], (12, 11), interpolation=cv2.INTER_AREA) for f in c]) for c in wide
    ]
    last = scikit_video.compare("ssim", *coarse)
    theirs = scikit_video.compare("msssim", *grey) / last * last**0.1333
    np.testing.assert_allclose(ms_ssim(real, other), theirs, rtol=1e-4)


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_likeness_is_one_for_equals_symmetric_and_falls_with_noise(
    measure: Callable[..., np.ndarray], pictures: Pictures, noisy: Pictures
) -> None:
    real = pictures(1, 176, 180)
    assert measure(real, real)[0] == 1
    values = [measure(real, noisy(real, deviation=sigma))[0] for sigma in (2, 8, 24)]
    assert 1 > values[0] > values[1] > values[2] > 0
    other = noisy(real, deviation=8)
    assert measure(real, other)[0] == pytest.approx(measure(other, real)[0], rel=1e-12)


def test_opposed_pictures_have_a_number(pictures: Pictures) -> None:
    real = pictures(1, 176, 176)
    assert ms_ssim(real, 255 - real)[0] == 0
    assert ssim(real, 255 - real)[0] < 0


@pytest.mark.parametrize("measure", [psnr, ssim, ms_ssim])
def test_a_frame_counts_the_same_alone_and_among_others(
    measure: Callable[..., np.ndarray], pictures: Pictures, noisy: Pictures
) -> None:
    real = pictures(3, 176, 176)
    other = noisy(real, deviation=8)
    alone = np.concatenate([measure(real[n : n + 1], other[n : n + 1]) for n in range(3)])
    np.testing.assert_array_equal(alone, measure(real, other))


@pytest.mark.parametrize(
    ("real", "other", "says"),
    [
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((3, 8, 8, 3), np.uint8), "2 real and 3 generated"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 9, 3), np.uint8), "8x8 pixels.*9x8"),
        (np.zeros((2, 8, 8)), np.zeros((2, 8, 8)), "float64"),
        (np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8), "at least|frames, height"),
        (np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8), "at least 11 pixels"),
    ],
)
def test_what_cannot_be_compared_is_one_error(real: np.ndarray, other: np.ndarray, says: str) -> None:
    with pytest.raises(MetricError, match=says):
        ssim(real, other)


def test_ms_ssim_needs_room_for_its_scales() -> None:
    small = np.zeros((1, 175, 300, 3), np.uint8)
    with pytest.raises(MetricError, match="at least 176 pixels; the frames have 300x175"):
        ms_ssim(small, small)
