"""Square crops: where they lie, and that drawing them neither shifts nor aliases."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from megactor_core.errors import FaceError, MediaError
from megactor_core.faces.crop import CropMargins, SquareCrop, crop_image, portrait_crop, warp_image

MARGINS = CropMargins()


def box_points(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    inside = rng.uniform((x0, y0), (x1, y1), (66, 2))
    return np.concatenate([[[x0, y0], [x1, y1]], inside])


@given(
    width=st.integers(64, 2000),
    height=st.integers(64, 2000),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    w=st.floats(0.05, 1),
    h=st.floats(0.05, 1),
)
def test_the_crop_keeps_the_whole_face_and_stays_in_the_picture_where_both_can_be(
    width: int, height: int, x: float, y: float, w: float, h: float
) -> None:
    face_w, face_h = w * (width - 1), h * (height - 1)
    x0, y0 = x * (width - 1 - face_w), y * (height - 1 - face_h)
    crop = portrait_crop(
        box_points(x0, y0, x0 + face_w, y0 + face_h), frame_width=width, frame_height=height, margins=MARGINS
    )
    slack = 1e-6 * max(width, height)
    assert crop.x <= x0 + slack
    assert crop.y <= y0 + slack
    assert crop.x + crop.side >= x0 + face_w - slack
    assert crop.y + crop.side >= y0 + face_h - slack
    if crop.side <= min(width, height):
        assert crop.x >= -0.5 - slack
        assert crop.y >= -0.5 - slack
        assert crop.x + crop.side <= width - 0.5 + slack
        assert crop.y + crop.side <= height - 0.5 + slack


def test_with_room_on_every_side_the_crop_is_the_releases() -> None:
    crop = portrait_crop(box_points(400, 400, 500, 480), frame_width=1000, frame_height=1000, margins=MARGINS)
    # e = 100: x from 325 to 575, y from 290 to 540, a square of 250 already.
    assert (crop.x, crop.y, crop.side) == pytest.approx((325, 290, 250))


def test_at_the_border_the_square_shrinks_about_the_centre_of_what_is_left() -> None:
    crop = portrait_crop(box_points(400, 30, 500, 110), frame_width=1000, frame_height=1000, margins=MARGINS)
    # y: 70 - 150 is cut to -0.5, and 70 + 100 = 170: 170.5 high, so 170.5 wide about x = 450.
    assert (crop.x, crop.y, crop.side) == pytest.approx((450 - 85.25, -0.5, 170.5))


def test_a_face_as_large_as_the_picture_is_kept_whole_on_a_repeated_border() -> None:
    """A flat, wide picture: the largest inner square would cut the face's sides off."""
    crop = portrait_crop(box_points(10, 5, 190, 95), frame_width=200, frame_height=100, margins=MARGINS)
    assert crop.side == pytest.approx(180)
    image = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    drawn = crop_image(image, crop, size_px=180)
    assert (drawn[0] == drawn[10]).all()


def test_a_clip_is_cropped_round_the_union_of_its_faces_without_the_lost_frames() -> None:
    clip = np.stack(
        [box_points(400, 400, 450, 450), np.full((68, 2), np.nan), box_points(450, 420, 500, 480)]
    )
    whole = portrait_crop(clip, frame_width=1000, frame_height=1000, margins=MARGINS)
    union = portrait_crop(
        box_points(400, 400, 500, 480), frame_width=1000, frame_height=1000, margins=MARGINS
    )
    assert whole == union


def test_no_landmarks_are_one_error() -> None:
    with pytest.raises(FaceError, match="no face to crop"):
        portrait_crop(np.full((68, 2), np.nan), frame_width=9, frame_height=9, margins=MARGINS)
    with pytest.raises(FaceError, match="no face to crop"):
        portrait_crop(np.ones((68, 2)), frame_width=9, frame_height=9, margins=MARGINS)


@given(x=st.integers(0, 20), y=st.integers(0, 20), side=st.integers(1, 20))
def test_a_crop_at_its_own_size_is_the_slice_of_the_picture(x: int, y: int, side: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    drawn = crop_image(image, SquareCrop(x=x - 0.5, y=y - 0.5, side=side), size_px=side)
    np.testing.assert_array_equal(drawn, image[y : y + side, x : x + side])


def test_the_matrix_maps_points_as_the_drawing_does() -> None:
    """A bright spot at a known point must be drawn where `to_matrix` sends that point."""
    yy, xx = np.mgrid[0:300, 0:400]
    spot = np.exp(-((xx - 210.3) ** 2 + (yy - 120.7) ** 2) / (2 * 8.0**2))
    image = np.repeat((255 * spot)[..., np.newaxis], 3, axis=2).astype(np.uint8)
    for size_px in (32, 77, 256, 640):
        crop = SquareCrop(x=101.3, y=30.9, side=180.4)
        drawn = crop_image(image, crop, size_px=size_px)[..., 0].astype(float)
        y, x = np.mgrid[0:size_px, 0:size_px]
        centre = np.array([(drawn * x).sum(), (drawn * y).sum()]) / drawn.sum()
        expected = crop.to_matrix(size_px) @ np.array([210.3, 120.7, 1])
        assert np.abs(centre - expected).max() < 0.15 * max(1, size_px / 180)


def test_shrinking_does_not_alias() -> None:
    """A one-pixel checkerboard has no detail left at a sixth of the size: it must come out grey."""
    image = np.repeat(((np.indices((600, 600)).sum(axis=0) % 2) * 255)[..., np.newaxis], 3, axis=2).astype(
        np.uint8
    )
    drawn = crop_image(image, SquareCrop(x=3.2, y=1.7, side=590), size_px=98).astype(int)
    assert np.abs(drawn - 127).max() < 12


@given(scale=st.floats(0.1, 3), angle=st.floats(-3, 3), x=st.floats(-500, 500), y=st.floats(-500, 500))
def test_a_warp_never_fails_and_a_flat_picture_stays_flat(
    scale: float, angle: float, x: float, y: float
) -> None:
    assume(scale > 0)
    image = np.full((50, 70, 3), 93, np.uint8)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cos, -sin, x], [sin, cos, y]])
    assert (warp_image(image, matrix, size_px=40, border="replicate") == 93).all()


def test_beyond_the_picture_there_is_black_where_it_is_asked_for() -> None:
    image = np.full((50, 70, 3), 200, np.uint8)
    away = np.array([[1.0, 0, 1000], [0, 1, 0]])
    assert not warp_image(image, away, size_px=30, border="black").any()
    assert warp_image(image, np.zeros((2, 3)), size_px=30, border="black").shape == (30, 30, 3)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)],
    ids=["grey", "float", "empty"],
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(MediaError, match="uint8"):
        crop_image(image, SquareCrop(x=0, y=0, side=2), size_px=8)
