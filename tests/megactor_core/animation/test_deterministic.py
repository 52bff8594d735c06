"""--deterministic: the algorithms that it asks for are there, and on a CPU the picture is the same."""

from pathlib import Path
from typing import Any

import pytest
import torch

from megactor_core.animation.animate import animate
from megactor_core.config.animate import AnimateConfig
from megactor_core.models.dit import Denoiser


def test_animate_is_deterministic_where_asked(
    media: Path, speaking_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[bool] = set()
    forward = Denoiser.forward

    def watch(self: Denoiser, *args: Any, **kwargs: Any) -> Any:
        seen.add(torch.are_deterministic_algorithms_enabled())
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Denoiser, "forward", watch)
    config = AnimateConfig(
        reference=media / "portrait.png",
        audio=media / "speech.wav",
        checkpoint=speaking_checkpoint,
        output=tmp_path / "plain.mp4",
        seconds=0.3,
        provenance=False,
    )
    plain = animate(config).output
    assert seen == {False}
    seen.clear()
    fixed = animate(config.updated(deterministic=True, output=tmp_path / "fixed.mp4")).output
    assert seen == {True}
    assert _pictures(fixed) == _pictures(plain)


def _pictures(path: Path) -> list[bytes]:
    from megactor_core.media.video import read_video

    return [frame.tobytes() for frame in read_video(path)]
