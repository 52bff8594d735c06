"""Small networks in the places of DWPose's two: what they see is painted, so where it is is known exactly.

A blue pixel at a cell's centre is a person of PERSON_PX about it in the detector's letterboxed picture, a red
one a person of LARGE_PERSON_PX. A yellow dot in a person's box is a face: its 68 points lie about it as
FACE_BINS says, its brightness is their score.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

PERSON_PX, LARGE_PERSON_PX = (96, 128), (240, 320)
FACE_BINS = np.random.default_rng(7).integers(-50, 50, (68, 2))
OTHER_BINS = np.random.default_rng(8).integers(-50, 50, (133, 2))
"""The other points of the body lie elsewhere: taken for the face's they would be seen."""
RGB_MEAN, RGB_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

BuildToy = Callable[..., Path]


@pytest.fixture(scope="session")
def toy_sizes() -> SimpleNamespace:
    return SimpleNamespace(person_px=PERSON_PX, large_person_px=LARGE_PERSON_PX, face_bins=FACE_BINS)


@pytest.fixture(scope="session")
def toy_dwpose(tmp_path_factory: pytest.TempPathFactory) -> BuildToy:
    """Builds a folder with the two files; `unsure` points of the face score a tenth."""

    def build(*, unsure: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("dwpose")
        _save(folder / "yolox_l.onnx", *_detector())
        _save(folder / "dw-ll_ucoco_384.onnx", *_pose(unsure))
        return folder

    return build


class _Graph:
    """Nodes and constants under made-up names."""

    def __init__(self) -> None:
        self.nodes, self.constants = [], []

    def constant(self, values: object, dtype: type = np.float32) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        from onnx import helper

        name = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def part(self, values: str, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> str:
        return self.add("Slice", values, *(self.constant(x, np.int64) for x in (starts, ends, axes, steps)))

    def channel(self, image: str, number: int) -> str:
        return self.part(image, [number], [number + 1], [1], [1])


def _save(path: Path, graph: _Graph, input_shape: list[int], outputs: dict[str, list[int]]) -> None:
    import onnx
    from onnx import TensorProto, helper

    def value(name: str, shape: list[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    made = helper.make_graph(
        graph.nodes,
        path.stem,
        [value("input", input_shape)],
        [value(name, shape) for name, shape in outputs.items()],
        graph.constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _detector() -> tuple[_Graph, list[int], dict[str, list[int]]]:
    g = _Graph()
    red, green, blue = (g.channel("input", number) for number in range(3))
    grids = [
        _cells(g, g.add("Sub", blue, green), stride=8, person_px=PERSON_PX),
        _cells(g, g.add("Sub", green, green), stride=16, person_px=PERSON_PX),  # sees nothing
        _cells(g, g.add("Sub", red, green), stride=32, person_px=LARGE_PERSON_PX),
    ]
    g.add("Concat", *grids, output="output", axis=1)
    return g, [1, 3, 640, 640], {"output": [1, 8400, 85]}


def _cells(g: _Graph, seen: str, *, stride: int, person_px: tuple[int, int]) -> str:
    """(1, cells, 85): offsets of half a cell, logarithmic sizes, objectness, and one class, person."""
    count = (640 // stride) ** 2
    middle = g.part(seen, [stride // 2] * 2, [640] * 2, [2, 3], [stride] * 2)
    positive = g.add("Div", g.add("Relu", middle), g.constant(255))
    objectness = g.add("Reshape", positive, g.constant([1, count, 1], np.int64))
    box = np.array([0.5, 0.5, *np.log(np.array(person_px) / stride)])
    boxes = g.constant(np.broadcast_to(box, (1, count, 4)))
    classes = g.constant(np.broadcast_to(np.eye(80)[0], (1, count, 80)))
    return g.add("Concat", boxes, objectness, classes, axis=2)


def _pose(unsure: int) -> tuple[_Graph, list[int], dict[str, list[int]]]:
    g = _Graph()
    std, mean = (g.constant(np.reshape(values, (1, 3, 1, 1))) for values in (RGB_STD, RGB_MEAN))
    picture = g.add("Add", g.add("Mul", "input", std), mean)
    red, green, blue = (g.channel(picture, number) for number in range(3))
    yellow = g.add("Div", g.add("Sub", g.add("Min", red, green), blue), g.constant(255))
    bins = OTHER_BINS.copy()
    bins[23:91] = FACE_BINS
    gain = np.ones((133, 1))
    gain[23 : 23 + unsure] = 0.1
    for name, axis, size, shift in (("simcc_x", 2, 288, bins[:, 0]), ("simcc_y", 3, 384, bins[:, 1])):
        profile = g.add("Reshape", g.add("ReduceMax", yellow, axes=[axis]), g.constant([1, size], np.int64))
        halves = g.add("MatMul", profile, g.constant(_doubling(size)))
        source = np.clip(np.arange(2 * size) - shift[:, np.newaxis], 0, 2 * size - 1)
        heat = g.add("Gather", halves, g.constant(source, np.int64), axis=1)
        g.add("Mul", heat, g.constant(gain), output=name)
    return g, [1, 3, 384, 288], {"simcc_x": [1, 133, 576], "simcc_y": [1, 133, 768]}


def _doubling(size: int) -> np.ndarray:
    """(size, 2 size): pixel p goes to bin 2p, the mean of p and p + 1 to bin 2p + 1."""
    matrix = np.zeros((size, 2 * size))
    pixels = np.arange(size)
    matrix[pixels, 2 * pixels] = 1
    matrix[pixels, 2 * pixels + 1] += 0.5
    matrix[np.minimum(pixels + 1, size - 1), 2 * pixels + 1] += 0.5
    return matrix
