"""What the model hears, computed once: the log-mel spectrogram or Whisper's states of a sample's sound."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import soundfile
import torch

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.data.sample import SOUND, write_audio_features
from megactor_core.engine.stage import Needs, Row, WorkerContext
from megactor_core.errors import MegActorError
from megactor_core.models.audio import WhisperEncoder, log_mel
from megactor_core.preprocessing import workplace
from megactor_core.preprocessing.networks import repeatable
from megactor_core.preprocessing.track import CLIP_TIMEOUT_SECONDS


@dataclass(slots=True)
class Features:
    """Writes audio.safetensors from sound.flac, where there is one. Adds the column audio_features."""

    name: ClassVar[str] = "features"
    needs: ClassVar[Needs] = Needs(timeout_seconds=CLIP_TIMEOUT_SECONDS)

    config: PreprocessConfig
    samples: Path
    version: str
    whisper: Path | None
    """Folder of the weights; None where log-mel is wanted."""
    _encoder: WhisperEncoder | None = field(default=None, init=False, repr=False)

    def setup(self, worker: WorkerContext) -> None:
        """Load Whisper where it is wanted; raises WeightsError."""
        if self.whisper is not None:
            # Which states a frame reads at the edges is decided where they are read.
            self._encoder = WhisperEncoder.load(self.whisper, edges="clamp").to(worker.device)

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each clip."""
        for row in batch:
            kind = self.config.audio_features if row["has_audio"] else None
            if kind is not None:
                with workplace.kept_only_if_done(self.samples, row) as folder, repeatable():
                    write_audio_features(folder, kind, self._listen(folder))
            yield {**row, "audio_features": kind}

    def _listen(self, folder: Path) -> np.ndarray:
        """(80, J) or (T, L, E) float16."""
        sound = soundfile.read(folder / SOUND, dtype="float32")[0]
        values = log_mel(sound) if self._encoder is None else self._encoder.states(sound).float().cpu()
        halves = values.to(torch.float16)
        if not torch.isfinite(halves).all():
            raise MegActorError(
                f"The audio features reach {float(values.abs().max()):g}, more than half precision holds."
            )
        return halves.numpy()
