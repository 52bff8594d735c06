"""Reading a pair: side by side, each file once, of one size, to the end of the shorter clip."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.errors import MediaError
from megactor_core.evaluation.feature_cache import Tape
from megactor_core.evaluation.pairing import Pair
from megactor_core.evaluation.reading import PairReading, read_pair_sound, resized

MakeClip = Callable[..., Path]


def reading(
    generated: Path, real: Path, *, faces: bool = False, tape: Tape | None = None, **settings: object
) -> PairReading:
    config = EvaluateConfig.build(settings, source="test")
    return PairReading(Pair(name="x", generated=generated, real=real), config, faces, tape or Tape())


@pytest.fixture(scope="module")
def clips(
    tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip, man: list[np.ndarray]
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reading")
    return {
        "ten": make_clip(folder / "ten.mp4", man[:10]),
        "seven": make_clip(folder / "seven.mp4", man[:7], hums=False),
        "small": make_clip(folder / "small.mp4", [frame[::2, ::2] for frame in man[:10]]),
        "wide": make_clip(folder / "wide.mp4", [frame[20:120] for frame in man[:10]]),
    }


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_blocks_join_to_the_clips(clips: dict[str, Path], man: list[np.ndarray], batch_size: int) -> None:
    pair = reading(clips["seven"], clips["ten"], batch_size=batch_size)
    blocks = list(pair.blocks())
    np.testing.assert_array_equal(np.concatenate([block.generated for block in blocks]), man[:7])
    np.testing.assert_array_equal(np.concatenate([block.real for block in blocks]), man[:7])
    assert (pair.frames, pair.longer, pair.width, pair.height) == (7, "real", 144, 144)
    assert not pair.real_is_whole


def test_the_shorter_side_is_told(clips: dict[str, Path]) -> None:
    pair = reading(clips["ten"], clips["seven"])
    assert sum(len(block.real) for block in pair.blocks()) == 7
    assert pair.longer == "generated"
    assert pair.real_is_whole
    same = reading(clips["ten"], clips["ten"])
    list(same.blocks())
    assert same.longer is None


def test_unequal_lengths_can_be_refused(clips: dict[str, Path]) -> None:
    with pytest.raises(MediaError, match="the real clip goes on after 7 frames"):
        list(reading(clips["seven"], clips["ten"], length="equal").blocks())


def test_unequal_sizes_are_refused_unless_one_is_asked_for(clips: dict[str, Path]) -> None:
    with pytest.raises(MediaError, match=r"is 72x72, but its real clip .* is 144x144") as caught:
        list(reading(clips["small"], clips["ten"]).blocks())
    assert "--size 72" in caught.value.fix
    pair = reading(clips["small"], clips["ten"], size=64)
    (block,) = pair.blocks()
    assert block.real.shape == block.generated.shape == (10, 64, 64, 3)
    # Both show the same, so after resizing they nearly agree.
    assert np.abs(block.real.astype(int) - block.generated).mean() < 6


def test_other_proportions_are_refused(clips: dict[str, Path]) -> None:
    with pytest.raises(MediaError, match=r"proportions 1\.440, its real clip 1\.000"):
        list(reading(clips["wide"], clips["ten"], size=64).blocks())


def test_points_are_those_of_each_frame(clips: dict[str, Path]) -> None:
    pair = reading(clips["seven"], clips["ten"], faces=True, batch_size=4)
    blocks = list(pair.blocks())
    for side in ("real", "generated"):
        points = pair.points(side)
        assert points is not None
        assert points.shape == (7, 68, 2)
        parts = [getattr(block, f"{side}_points") for block in blocks]
        np.testing.assert_array_equal(np.concatenate(parts), points)
    np.testing.assert_array_equal(pair.points("real"), pair.points("generated"))


def test_the_real_clips_points_are_found_once(clips: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "points.safetensors"
    first = reading(clips["ten"], clips["ten"], faces=True, tape=Tape(path))
    list(first.blocks())
    assert Tape(path).is_whole
    second = reading(clips["seven"], clips["ten"], faces=True, tape=Tape(path), batch_size=3)
    assert second._tracked_sides() == ("generated",)
    blocks = list(second.blocks())
    np.testing.assert_array_equal(np.concatenate([b.real_points for b in blocks]), first.points("real")[:7])


def test_resizing_leaves_the_right_size_alone() -> None:
    frame = np.random.default_rng([1]).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert resized(frame, None) is frame
    assert resized(frame, 32) is frame
    halves = frame.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resized(frame, 16), halves, atol=0.5)
    assert resized(frame, 48).shape == (48, 48, 3)


def test_the_generated_clips_own_sound_comes_first(clips: dict[str, Path]) -> None:
    config = EvaluateConfig()
    sources = {
        name: read_pair_sound(Pair(name="x", generated=clips[made], real=clips[real], sound=sound), config)
        for name, made, real, sound in (
            ("both", "ten", "ten", None),
            ("real alone", "seven", "ten", None),
            ("neither", "seven", "seven", None),
            ("named", "seven", "seven", clips["ten"]),
            ("silent file", "ten", "ten", clips["seven"]),
        )
    }
    assert {name: found.source for name, found in sources.items()} == {
        "both": "generated",
        "real alone": "real",
        "neither": None,
        "named": "own file",
        "silent file": None,
    }
    assert len(sources["both"].samples) == pytest.approx(16_000 * 10 / 25, abs=64)
    assert "Neither clip has sound" in sources["neither"].reason
    assert "without sound" in sources["silent file"].reason
