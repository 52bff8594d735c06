"""The DWPose back end: its arithmetic on known numbers, and the whole of it on networks of known answers.

The networks are toys with the true ones' inputs and outputs (see conftest.py one folder up): painted pictures
say where persons and faces are, and the positions expected here are worked out from the paint alone.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core import weights
from megactor_core.errors import FaceError, UsageError, WeightsError
from megactor_core.faces import dwpose
from megactor_core.faces.dwpose import DWPoseFaces
from megactor_core.faces.landmarks import detect_faces, detect_landmarks, prepare

BLUE, RED, YELLOW = (0, 0, 255), (255, 0, 0), (255, 255, 0)
BuildToy = Callable[..., Path]


@pytest.fixture(scope="module")
def networks(toy_dwpose: BuildToy) -> DWPoseFaces:
    return DWPoseFaces(toy_dwpose())


@pytest.fixture
def pulled(toy_dwpose: BuildToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toys in the weights cache, as a user who has the files would put them there."""
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path / "cache"))
    return weights.pull("dwpose", from_path=toy_dwpose())


def picture(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 60, np.uint8)


def letterbox_scale(image: np.ndarray) -> float:
    return 640 / max(image.shape[:2])


def paint(image: np.ndarray, x: float, y: float, colour: tuple[int, int, int], *, reach: int = 0) -> None:
    column, row = round(x), round(y)
    image[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1] = colour


def paint_person(image: np.ndarray, cell: tuple[int, int], *, stride: int = 8) -> np.ndarray:
    """Paint a person at a cell of the detector's grid; its centre in the picture's pixels."""
    centre = (np.array(cell) + 0.5) * stride / letterbox_scale(image)
    reach = max(1, int(1 / letterbox_scale(image)) + 1)
    paint(image, centre[0], centre[1], BLUE if stride == 8 else RED, reach=reach)
    return centre


def crop_scale(image: np.ndarray, person_px: tuple[int, int]) -> float:
    """Pixels of the pose network's 288 x 384 picture per pixel of the image, for a person of that size."""
    width, height = (1.25 * side / letterbox_scale(image) for side in person_px)
    return min(288 / width, 384 / height)


def faces_of(networks: DWPoseFaces, image: np.ndarray) -> list[dwpose.PoseFace]:
    return networks.step(image, [], thorough=True)[1]


# The whole path


def test_points_are_exact_on_the_grid_of_bins(networks: DWPoseFaces, toy_sizes: SimpleNamespace) -> None:
    """640 x 480 is letterboxed as it is; 2.4 crop pixels to a pixel, so 5 pixels from the centre is a bin."""
    image = picture(640, 480)
    centre = paint_person(image, (30, 25))
    np.testing.assert_array_equal(centre, [244, 204])
    paint(image, 254, 189, YELLOW)
    (face,) = faces_of(networks, image)
    expected = np.array([254, 189]) + toy_sizes.face_bins / 2 / 2.4
    np.testing.assert_allclose(face.points, expected, atol=1e-4)
    assert face.points.dtype == np.float32
    assert face.score == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(face.box, [*expected.min(axis=0), *expected.max(axis=0)], atol=1e-4)


@pytest.mark.parametrize(
    ("width", "height"), [(640, 480), (333, 217), (217, 333), (160, 120), (641, 359), (1280, 720), (1000, 77)]
)
@pytest.mark.parametrize("stride", [8, 32])
def test_pictures_of_any_size(
    networks: DWPoseFaces, toy_sizes: SimpleNamespace, width: int, height: int, stride: int
) -> None:
    image = picture(width, height)
    rows = round(height * letterbox_scale(image)) // stride
    person_px = toy_sizes.person_px if stride == 8 else toy_sizes.large_person_px
    centre = paint_person(image, (320 // stride if width >= height else rows // 4, rows // 2), stride=stride)
    scale = crop_scale(image, person_px)
    dot = np.round(centre + np.array([20, -14]) / letterbox_scale(image))
    dot = np.clip(dot, 0, [width - 1, height - 1])
    # Where the crop shrinks the picture, one pixel of paint could fall between the samples.
    reach = 0 if scale >= 1 else 1
    paint(image, dot[0], dot[1], YELLOW, reach=reach)
    (face,) = faces_of(networks, image)
    expected = dot + toy_sizes.face_bins / 2 / scale
    assert np.abs(face.points - expected).max() <= reach + 0.5 / scale


def test_two_persons_are_two_faces(networks: DWPoseFaces, toy_sizes: SimpleNamespace) -> None:
    image = picture(640, 480)
    for cell, dot in (((15, 20), (130, 160)), ((60, 40), (480, 330))):
        paint_person(image, cell)
        paint(image, *dot, YELLOW)
    faces = faces_of(networks, image)
    means = sorted(face.points.mean(axis=0).tolist() for face in faces)
    offset = toy_sizes.face_bins.mean(axis=0) / 2 / 2.4
    np.testing.assert_allclose(means, np.array([[130, 160], [480, 330]]) + offset, atol=0.3)


@pytest.mark.parametrize("apart", [1, 8], ids=["suppressed", "not suppressed"])
def test_one_face_in_two_boxes_is_one_face(networks: DWPoseFaces, apart: int) -> None:
    """64 pixels apart the boxes overlap too little for the detector to merge them."""
    image = picture(640, 480)
    paint_person(image, (30, 30))
    paint_person(image, (30 + apart, 30))
    paint(image, 270, 240, YELLOW)
    assert len(networks._persons(image)) == (1 if apart == 1 else 2)
    assert len(faces_of(networks, image)) == 1


def test_without_a_person_the_whole_picture_is_one(networks: DWPoseFaces, toy_sizes: SimpleNamespace) -> None:
    image = picture(150, 200)
    paint(image, 90, 70, YELLOW)
    np.testing.assert_array_equal(networks._persons(image), [[0, 0, 150, 200]])
    (face,) = faces_of(networks, image)
    scale = 384 / (1.25 * 200)
    assert np.abs(face.points - [90, 70] - toy_sizes.face_bins / 2 / scale).max() <= 0.5 / scale


@pytest.mark.parametrize(
    "image",
    [np.zeros((1, 1, 3), np.uint8), np.full((5, 900, 3), 255, np.uint8), picture(64, 64)],
    ids=["pixel", "strip", "grey"],
)
def test_pictures_without_a_face(networks: DWPoseFaces, image: np.ndarray) -> None:
    assert faces_of(networks, image) == []


@pytest.mark.parametrize(("brightness", "found"), [(255, True), (110, True), (60, False)])
def test_points_below_the_threshold_are_no_face(networks: DWPoseFaces, brightness: int, found: bool) -> None:
    """The point's score is its brightness: 0.43 is enough, 0.24 is not."""
    image = picture(640, 480)
    paint_person(image, (30, 25))
    paint(image, 254, 189, (brightness, brightness, 0))
    faces = faces_of(networks, image)
    assert len(faces) == found
    if found:
        assert faces[0].score == pytest.approx(brightness / 255, abs=0.01)


@pytest.mark.parametrize(("unsure", "found"), [(8, True), (9, False)])
def test_sixty_sure_points_make_a_face(toy_dwpose: BuildToy, unsure: int, found: bool) -> None:
    image = picture(640, 480)
    paint_person(image, (30, 25))
    paint(image, 254, 189, YELLOW)
    assert len(faces_of(DWPoseFaces(toy_dwpose(unsure=unsure)), image)) == found


# Following


def two_moving_faces(frame: int, *, hide_first: bool = False) -> np.ndarray:
    """A near (large) person on the left and a far one on the right, both drifting by 2 pixels a frame."""
    image = picture(640, 480)
    paint_person(image, (5, 7), stride=32)
    paint_person(image, (60, 30))
    if not hide_first:
        paint(image, 170 + 2 * frame, 210, YELLOW)
    paint(image, 480 + 2 * frame, 240, YELLOW)
    return image


@pytest.mark.usefixtures("pulled")
def test_the_chosen_face_is_followed_and_never_exchanged(toy_sizes: SimpleNamespace) -> None:
    frames = [two_moving_faces(i, hide_first=4 <= i < 7) for i in range(10)]
    large = detect_landmarks(frames, back_end="dwpose")
    assert large.found.tolist() == [not 4 <= i < 7 for i in range(10)]
    assert large.faces_in_frame.tolist() == [1 if 4 <= i < 7 else 2 for i in range(10)]
    drift = np.diff(large.points[:4].mean(axis=1), axis=0)
    np.testing.assert_allclose(drift, np.tile([2, 0], (3, 1)), atol=0.6)
    small = detect_landmarks(frames, back_end="dwpose", face=1)
    assert small.found.all()
    assert (small.points[..., 0] > 440).all()
    with pytest.raises(FaceError, match=r"Face 2 was asked for .* shows 2"):
        detect_landmarks(frames, back_end="dwpose", face=2)


@pytest.mark.usefixtures("pulled")
def test_faces_come_largest_first() -> None:
    faces = detect_faces(two_moving_faces(0), back_end="dwpose")
    assert [face.box[0] < 320 for face in faces] == [True, False]


# Arithmetic


def test_cells_become_boxes_on_every_grid() -> None:
    """Offsets, strides and grid order, worked out by hand; scores are objectness times class."""
    cells = np.zeros((8400, 85), np.float32)
    cells[81, :6] = [0.25, 0.5, np.log(2), np.log(3), 0.7, 0.5]  # stride 8, column 1, row 1
    cells[6400 + 2 * 40 + 3, :6] = [0, 1, np.log(2), np.log(2), 0.9, 0.9]  # stride 16, column 3, row 2
    cells[8000 + 4 * 20 + 15, :6] = [0.5, 0.5, 0, 0, 0.8, 1]  # stride 32, column 15, row 4
    cells[17, :6] = [0, 0, 1, 1, 0.5, 0.5]  # 0.25: not sure enough
    cells[4000, 4:7] = [1, 0, 1]  # sure to be something else than a person
    boxes = dwpose._person_boxes(cells, scale=0.5)
    expected = [[32, 32, 64, 64], [480, 128, 512, 160], [2, 0, 18, 24]]
    np.testing.assert_allclose(boxes, np.array(expected) / 0.5, atol=1e-5)
    assert dwpose._person_boxes(np.zeros((8400, 85), np.float32), scale=1).shape == (0, 4)


def test_overlapping_boxes_are_suppressed_by_surer_ones() -> None:
    boxes = np.array([[0, 0, 99, 99], [0, 0, 99, 199], [30, 0, 129, 99], [60, 0, 159, 99], [0, 0, 99, 221]])
    # Overlaps with the first: 0.5, 0.54, 0.25, and 100 / 222, which is too much; 99 / 221 would not be.
    np.testing.assert_array_equal(dwpose._suppressed(boxes.astype(float)), boxes[[0, 3]])


def test_the_letterbox_is_top_left_and_grey() -> None:
    image = np.full((30, 90, 3), 200, np.uint8)
    square, scale = dwpose._letterbox(image)
    assert scale == 640 / 90
    assert (square[:213] == 200).all()
    assert (square[213:] == 114).all()
    assert dwpose._letterbox(np.zeros((1, 5000, 3), np.uint8))[0].shape == (640, 640, 3)


@given(x=st.floats(-50, 900), y=st.floats(-50, 900), width=st.floats(2, 700), height=st.floats(2, 700))
def test_the_padded_person_fills_the_pose_picture(x: float, y: float, width: float, height: float) -> None:
    matrix = dwpose._pose_matrix(np.array([x, y, x + width, y + height]))
    assert matrix[0, 0] == matrix[1, 1] > 0, "aspect kept"
    middle = matrix @ [x + width / 2, y + height / 2, 1]
    np.testing.assert_allclose(middle, [144, 192], atol=1e-6)
    padded = 1.25 * matrix[0, 0] * np.array([width, height])
    assert (padded <= np.array([288, 384]) + 1e-6).all()
    assert np.isclose(padded, [288, 384]).any()


def test_peaks_are_half_pixels_and_the_weaker_axis_scores() -> None:
    heat_x, heat_y = np.zeros((2, 576)), np.zeros((2, 768))
    heat_x[0, 101], heat_y[0, 700] = 0.8, 0.4
    heat_x[1, 575], heat_y[1, 1] = 0.2, 0.9
    points, scores = dwpose._peaks(heat_x, heat_y)
    np.testing.assert_array_equal(points, [[50.5, 350], [287.5, 0.5]])
    np.testing.assert_array_equal(scores, [0.4, 0.2])


# What can be missing or wrong


def test_without_onnxruntime_the_error_names_the_extra_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for call in (
        lambda: prepare("dwpose"),
        lambda: detect_faces(picture(9, 9), back_end="dwpose"),
    ):
        with pytest.raises(UsageError, match=r"pip install megactor\[dwpose\]"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_missing_files_name_the_command_that_gets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="megactor weights pull dwpose"):
        detect_faces(picture(9, 9), back_end="dwpose")


def test_prepare_is_content_with_what_the_user_gave(pulled: Path) -> None:
    prepare("dwpose")
    assert weights.verify(["dwpose"])[0].state == "ok"
    with (pulled / "yolox_l.onnx").open("ab") as file:
        file.write(b"x")
    assert weights.verify(["dwpose"])[0].state == "damaged"


def test_files_that_are_not_these_networks_are_one_error(toy_dwpose: BuildToy, tmp_path: Path) -> None:
    detector, pose = (toy_dwpose() / name for name in ("yolox_l.onnx", "dw-ll_ucoco_384.onnx"))
    for name in (detector.name, pose.name):
        (tmp_path / name).write_bytes(b"not a network")
    with pytest.raises(WeightsError, match=r"yolox_l\.onnx' cannot be loaded"):
        DWPoseFaces(tmp_path)
    (tmp_path / detector.name).write_bytes(pose.read_bytes())
    with pytest.raises(WeightsError, match=r"takes \(1, 3, 384, 288\), but .* \(1, 3, 640, 640\)"):
        DWPoseFaces(tmp_path)


def test_a_network_of_other_outputs_is_one_error(toy_dwpose: BuildToy) -> None:
    import onnx

    folder = toy_dwpose()
    model = onnx.load(str(folder / "yolox_l.onnx"))
    model.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info(model.graph.node[0].output[0], 1, [1, 1, 640, 640])
    )
    onnx.save(model, str(folder / "yolox_l.onnx"))
    with pytest.raises(WeightsError, match=r"yolox_l\.onnx' gives \[\(1, 1, 640, 640\)\], but .*8400, 85"):
        faces_of(DWPoseFaces(folder), picture(64, 64))


def test_loading_and_running_write_nothing(pulled: Path) -> None:
    """The runtime warns of devices that are not there, from native code; the command line must stay clean."""
    code = (
        "import numpy as np; from megactor_core.faces.landmarks import detect_faces;"
        "detect_faces(np.zeros((64, 64, 3), np.uint8), back_end='dwpose')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout == done.stderr == ""
