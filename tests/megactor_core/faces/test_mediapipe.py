"""The MediaPipe back end: its own arithmetic without networks, and the networks on a real talking man."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core import weights
from megactor_core.errors import WeightsError
from megactor_core.faces import mediapipe
from megactor_core.faces.mediapipe import MediaPipeFaces, MeshFace, Region


@given(
    x=st.floats(-100, 900),
    y=st.floats(-100, 900),
    side=st.floats(5, 2000),
    angle=st.floats(-3, 3),
    seed=st.integers(0, 99),
)
def test_a_region_maps_there_and_back(x: float, y: float, side: float, angle: float, seed: int) -> None:
    region = Region(x=x, y=y, side=side, angle=angle)
    points = np.random.default_rng(seed).uniform(0, 800, (4, 2))
    matrix = region.to_matrix(192)
    there = points @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(region.to_image(there, 192), points, atol=1e-6)
    middle = matrix @ np.array([x, y, 1])
    np.testing.assert_allclose(middle, [95.5, 95.5], atol=1e-6)


def test_a_region_turns_with_the_head() -> None:
    """A region of a head that leans clockwise draws it upright: image direction (1, 1) becomes (1, 0)."""
    matrix = Region(x=0, y=0, side=192, angle=np.pi / 4).to_matrix(192)
    np.testing.assert_allclose(matrix[:, :2] @ np.array([1, 1]), [np.sqrt(2), 0], atol=1e-12)


def test_the_anchors_are_as_many_as_the_models_have_outputs() -> None:
    short = mediapipe._anchors(128, mediapipe._SHORT)
    assert short.shape == (896, 2)
    assert mediapipe._anchors(192, mediapipe._FULL).shape == (2304, 2)
    np.testing.assert_array_equal(short[:3], [[4, 4], [4, 4], [12, 4]])
    np.testing.assert_array_equal(short[512], [8, 8])


def test_overlapping_detections_blend_and_distant_ones_stay() -> None:
    def at(x: float) -> np.ndarray:
        return np.array([[x, 0], [x + 10, 10], [x + 3, 3], [x + 7, 3]], dtype=float)

    merged = mediapipe._merge_overlapping(np.stack([at(0), at(50), at(1)]), np.array([0.9, 0.6, 0.9]))
    assert [found.score for found in merged] == [0.9, 0.6]
    np.testing.assert_allclose(merged[0].box, [0.5, 0, 10.5, 10])
    np.testing.assert_allclose(merged[0].eyes[0], [3.5, 3])
    assert mediapipe._merge_overlapping(np.zeros((0, 4, 2)), np.zeros(0)) == []


def test_the_table_has_68_points_that_mirror_each_other() -> None:
    """iBUG's own symmetry must be the mesh's: a wrong index would break a pair."""
    table = mediapipe._MESH_OF_POINT
    assert len(table) == 68
    used = [index for indices in table for index in indices]
    assert min(used) >= 0
    assert max(used) < 468
    middle_points = (8, 27, 28, 29, 30, 33, 51, 57, 62, 66)
    on_the_middle = {152, 168, 6, 197, 195, 5, 4, 2, 0, 17, 13, 14}
    assert {index for point in middle_points for index in table[point]} == on_the_middle
    pairs = [*((i, 16 - i) for i in range(8)), *((17 + i, 26 - i) for i in range(5))]
    pairs += [(31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (59, 55), (58, 56), (60, 64), (61, 63), (67, 65)]
    assert all(len(table[a]) == len(table[b]) and not set(table[a]) & set(table[b]) for a, b in pairs)
    assert sorted([*middle_points, *(point for pair in pairs for point in pair)]) == list(range(68))


def _square_face(x: float, size: float) -> MeshFace:
    corners = np.array([[x, 0], [x + size, 0], [x, size], [x + size, size]], dtype=float)
    return MeshFace(mesh=np.resize(corners, (468, 2)), score=1.0)


def test_two_followed_faces_never_end_on_one() -> None:
    left, right = _square_face(0, 10), _square_face(20, 10)
    kept = mediapipe._without_doubles([left, right], [_square_face(18, 10), _square_face(20, 10)])
    assert kept[0] is None
    assert kept[1] is not None
    apart = mediapipe._without_doubles([left, right], [left, right])
    assert apart == [left, right]


class _MeshSure(MediaPipeFaces):
    """Its mesh is sure of a face in squares whose side lies in a range, and sees it in their middle."""

    def __init__(self, *sides: float) -> None:
        self._sides = sides
        self.looks: list[float] = []

    def _run_mesh(self, image: np.ndarray, region: Region) -> MeshFace | None:
        self.looks.append(region.side)
        low, high = self._sides
        return _square_face(region.x, 10) if low <= region.side <= high else None


class _Detects:
    """A detector that sees one face of 10 pixels, but in tiles alone."""

    def __init__(self, tile_px: float) -> None:
        self._tile_px = tile_px

    def detect(self, _image: np.ndarray, region: Region) -> list[mediapipe.Detection]:
        if region.side > self._tile_px:
            return []
        eyes = np.array([[53.0, 54], [57, 54]])
        return [mediapipe.Detection(box=np.array([50.0, 50, 60, 60]), eyes=eyes, score=0.9)]


def _searched(*sides: float) -> tuple[_MeshSure, list[MeshFace]]:
    networks = _MeshSure(*sides)
    networks._short_range = networks._full_range = _Detects(tile_px=100)  # type: ignore[assignment]
    _, found = networks.step(np.zeros((128, 128, 3), np.uint8), [], thorough=True)
    return networks, found


def test_a_face_that_the_mesh_sees_in_a_wider_square_only_is_found() -> None:
    networks, found = _searched(20, 22)
    assert [face.box[0] for face in found] == [55], "its second look was in vain: the first one stays"
    assert networks.looks[-3:] == [15, 21, pytest.approx(15)]


def test_wider_squares_are_the_last_resort() -> None:
    """What the usual one shows is taken as ever: a search that went on would have found other faces."""
    networks, found = _searched(14, 16)
    assert len(found) == 1
    assert 21 not in networks.looks
    assert _searched(1000, 1001)[1] == []


@pytest.mark.parametrize("share", mediapipe.TILE_SHARES)
def test_tiles_cover_every_pixel_and_overlap(share: float) -> None:
    tiles = mediapipe._tiles(np.zeros((90, 250, 3), np.uint8), share)
    for y in range(0, 90, 7):
        for x in range(0, 250, 7):
            assert any(abs(x - t.x) <= t.side / 2 and abs(y - t.y) <= t.side / 2 for t in tiles)
    columns = sorted({tile.x for tile in tiles})
    assert max(np.diff(columns)) <= mediapipe.TILE_STEP * 90 * share + 1e-9


def test_missing_models_name_the_command_that_gets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="megactor weights pull mediapipe-face"):
        mediapipe.back_end()


def test_a_damaged_model_is_one_error(tmp_path: Path) -> None:
    for name in ("face_detection_short_range.tflite", "face_landmark.tflite"):
        (tmp_path / name).write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        MediaPipeFaces(tmp_path)


def test_loading_the_models_writes_nothing_to_standard_error() -> None:
    """The interpreter announces itself from native code; the command line's output must stay clean."""
    weights.find("mediapipe-face")
    code = "from megactor_core.faces.mediapipe import back_end; back_end()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stderr == ""


def test_following_agrees_with_looking_afresh(talking_man: list[np.ndarray]) -> None:
    """The cheap path (region from the frame before) must give the points of the full path."""
    networks = mediapipe.back_end()
    known: list[MeshFace] = []
    for frame in islice(talking_man, 10):
        followed, new = networks.step(frame, known, thorough=True)
        known = [face for face in followed if face is not None] + new
        assert len(known) == 1
        _, fresh = networks.step(frame, [], thorough=True)
        size = np.ptp(known[0].points[:, 0])
        assert np.linalg.norm(known[0].points - fresh[0].points, axis=1).mean() < 0.02 * size
