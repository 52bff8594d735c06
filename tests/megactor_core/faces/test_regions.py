"""Eye and mouth regions: what is shown of the driver, and above all what is not."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megactor_core.errors import ConfigError
from megactor_core.faces.regions import (
    MOUTH,
    SIDE_A,
    SIDE_B,
    RegionBoxes,
    box_masks,
    driven_mask,
    driving_composite,
    driving_masks,
    region_boxes,
    token_mask,
)

SIZE = 64
Shape = Literal["square", "tight"]
Per = Literal["frame", "clip"]
shapes = st.sampled_from(["square", "tight"])
pers = st.sampled_from(["frame", "clip"])
seeds = st.integers(0, 2**32 - 1)


def faces(seed: int, frames: int = 3, size: int = SIZE) -> np.ndarray:
    """Points all over the picture and a little beyond, so that boxes overlap and stick out."""
    return np.random.default_rng(seed).uniform(-0.1 * size, 1.1 * size, (frames, 68, 2)).astype(np.float32)


def boxes_of(points: np.ndarray, *, size_px: int, shape: Shape, per: Per) -> RegionBoxes:
    return region_boxes(points, size_px=size_px, shape=shape, per=per, divisor=12, padding=0.75)


def clip_masks(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    boxes = boxes_of(points, size_px=SIZE, shape="square", per="clip")
    return driving_masks(boxes, size_px=SIZE, regions={"eyes", "mouth"})


def test_the_groups_are_the_two_brows_with_their_eyes_and_the_mouth() -> None:
    assert set(SIDE_A) == {17, 18, 19, 20, 21, 36, 37, 38, 39, 40, 41}
    assert set(SIDE_B) == {22, 23, 24, 25, 26, 42, 43, 44, 45, 46, 47}
    assert set(MOUTH) == set(range(48, 68))


def test_square_boxes_are_centred_on_the_mean_with_half_side_size_over_divisor() -> None:
    points = faces(0, size=512)
    boxes = boxes_of(points, size_px=512, shape="square", per="frame")
    centre = points[:, list(MOUTH)].mean(axis=1)
    np.testing.assert_allclose(
        boxes.mouth[:, 0], np.hstack([centre - 512 / 12, centre + 512 / 12]), atol=1e-3
    )
    assert boxes.eyes.shape == (3, 2, 4)
    assert boxes.eyes.dtype == np.float32
    wide = region_boxes(points, size_px=512, shape="square", per="frame", divisor=8, padding=0.75).eyes
    np.testing.assert_allclose(wide[..., 2] - wide[..., 0], 128, atol=1e-3)


def test_tight_boxes_reach_three_quarters_of_the_extent_to_each_side() -> None:
    points = faces(1)
    side_a = points[:, list(SIDE_A)]
    low, high = side_a.min(axis=1), side_a.max(axis=1)
    box = boxes_of(points, size_px=SIZE, shape="tight", per="frame").eyes[:, 0]
    np.testing.assert_allclose(box[:, :2], (low + high) / 2 - 0.75 * (high - low), atol=1e-4)
    np.testing.assert_allclose(box[:, 2:], (low + high) / 2 + 0.75 * (high - low), atol=1e-4)


@given(seed=seeds, shape=shapes)
def test_the_clip_box_holds_every_frames_box_and_does_not_move(seed: int, shape: Shape) -> None:
    points = faces(seed)
    each = boxes_of(points, size_px=SIZE, shape=shape, per="frame")
    whole = boxes_of(points, size_px=SIZE, shape=shape, per="clip")
    for frame, clip in ((each.eyes, whole.eyes), (each.mouth, whole.mouth)):
        assert (clip == clip[:1]).all()
        np.testing.assert_array_equal(clip[0, :, :2], frame[..., :2].min(axis=0))
        np.testing.assert_array_equal(clip[0, :, 2:], frame[..., 2:].max(axis=0))


@given(seed=seeds)
def test_a_box_mask_is_the_set_of_pixels_the_boxes_touch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-5, 20, (2, 3, 2, 2))
    boxes = np.concatenate([corners.min(axis=2), corners.max(axis=2)], axis=-1).astype(np.float32)
    masks = box_masks(boxes, size_px=16)
    for f in range(2):
        for y in range(16):
            for x in range(16):
                touched = any(
                    x0 < x + 0.5 and x1 > x - 0.5 and y0 < y + 0.5 and y1 > y - 0.5
                    for x0, y0, x1, y1 in boxes[f]
                )
                assert masks[f, y, x] == touched


@settings(deadline=None)
@given(seed=seeds, shape=shapes, per=pers)
def test_no_mouth_pixel_reaches_the_composite_when_the_mouth_is_not_driven(
    seed: int, shape: Shape, per: Per
) -> None:
    points = faces(seed)
    rng = np.random.default_rng(seed)
    frames = rng.integers(1, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    boxes = boxes_of(points, size_px=SIZE, shape=shape, per=per)
    inside_mouth = box_masks(boxes.mouth, size_px=SIZE)
    regions = frozenset({"eyes"})
    eyes, mouth = driving_masks(boxes, size_px=SIZE, regions=regions)
    shown = driving_composite(frames, driven_mask(eyes, mouth, regions=regions))
    assert inside_mouth.any()
    assert not shown[inside_mouth].any()
    other = frames.copy()
    other[inside_mouth] = rng.integers(0, 256, (int(inside_mouth.sum()), 3))
    np.testing.assert_array_equal(driving_composite(other, driven_mask(eyes, mouth, regions=regions)), shown)


@given(seed=seeds, shape=shapes)
def test_when_the_mouth_is_driven_the_eye_mask_is_whole(seed: int, shape: Shape) -> None:
    points = faces(seed)
    boxes = boxes_of(points, size_px=SIZE, shape=shape, per="frame")
    eyes, mouth = driving_masks(boxes, size_px=SIZE, regions={"eyes", "mouth"})
    np.testing.assert_array_equal(eyes, box_masks(boxes.eyes, size_px=SIZE))
    np.testing.assert_array_equal(driven_mask(eyes, mouth, regions={"eyes", "mouth"}), eyes | mouth)
    np.testing.assert_array_equal(driven_mask(eyes, mouth, regions={"mouth"}), mouth)
    assert not driven_mask(eyes, mouth, regions=set()).any()


def test_frames_without_a_face_show_nothing_and_do_not_spoil_the_clip_box() -> None:
    points = faces(2, frames=4)
    points[1] = np.nan
    eyes, mouth = clip_masks(points)
    assert not eyes[1].any()
    assert not mouth[1].any()
    kept = clip_masks(points[[0, 2, 3]])
    np.testing.assert_array_equal(eyes[[0, 2, 3]], kept[0])


def test_the_composite_is_luma_in_three_equal_channels() -> None:
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    frames[0, 0, 0] = (255, 0, 0)
    frames[0, 0, 1] = (0, 255, 0)
    frames[0, 1, 0] = (0, 0, 255)
    frames[0, 1, 1] = 255
    mask = np.ones((1, 2, 2), bool)
    shown = driving_composite(frames, mask)
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown[0, :, :, 0], [[0.2989, 0.5870], [0.1140, 0.9999]], atol=1e-6)
    assert (shown == shown[..., :1]).all()
    assert shown.max() <= 1


@given(
    seed=seeds,
    cells=st.integers(1, 6),
    stride=st.integers(1, 8),
    dilate=st.integers(0, 3),
    fill=st.floats(0, 0.2),
)
def test_tokens_are_the_cells_with_a_set_pixel_grown_by_the_dilation(
    seed: int, cells: int, stride: int, dilate: int, fill: float
) -> None:
    size = cells * stride
    mask = np.random.default_rng(seed).random((2, size, size)) < fill
    got = token_mask(mask, stride_px=stride, dilate_tokens=dilate)
    assert got.shape == (2, cells * cells)
    for f in range(2):
        touched = {(y // stride, x // stride) for y, x in np.argwhere(mask[f])}
        for row in range(cells):
            for column in range(cells):
                near = any(abs(row - r) <= dilate and abs(column - c) <= dilate for r, c in touched)
                assert got[f, row * cells + column] == near


def test_a_size_that_does_not_divide_is_one_error() -> None:
    with pytest.raises(ConfigError, match="40x40 pixels does not divide into tokens of 16"):
        token_mask(np.zeros((1, 40, 40), bool))


def test_unknown_regions_are_refused() -> None:
    with pytest.raises(ConfigError, match="no region 'ears'"):
        driving_masks(
            boxes_of(faces(0), size_px=SIZE, shape="square", per="clip"), size_px=SIZE, regions={"ears"}
        )
