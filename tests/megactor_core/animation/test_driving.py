"""A driving video that is left halfway frees the process that was decoding it, whoever keeps the error."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megactor_core.animation import driving
from megactor_core.config.animate import AnimateConfig
from megactor_core.errors import FaceError
from megactor_core.media import apart


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Those that are started from now on."""
    made: list[Any] = []
    begin = apart._Decoder.__init__

    def remembered(decoder: Any) -> None:
        begin(decoder)
        made.append(decoder)

    monkeypatch.setattr(apart._Decoder, "__init__", remembered)
    return made


def test_a_face_that_is_not_there(media: Path, decoders: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Many jobs keep all their errors, and these everything that their tracebacks hold."""

    def look(frames: Iterable[np.ndarray], **_: Any) -> None:
        next(iter(frames))
        raise FaceError("There are two faces.")

    monkeypatch.setattr(driving, "detect_landmarks", look)
    kept = []
    for _ in range(3):
        with pytest.raises(FaceError, match="two faces") as caught:
            driving.track_driver(
                media / "driver.mp4",
                portrait_points=np.zeros((68, 2)),
                config=AnimateConfig(),
                max_frames=None,
                on_progress=lambda *_: None,
            )
        kept.append(caught.value)
    assert len(kept) == 3
    busy = [made for made in decoders if made not in apart._idle and made._process.poll() is None]
    assert busy == []
