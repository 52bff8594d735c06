"""What a synthetic speaker sounds like, in five numbers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Voice:
    """The voice of one identity; the ranges are those of `identity.draw_identity`, and are ours."""

    f0_hz: float
    """Mean pitch: 90 to 150 or 160 to 240 Hz."""
    formant_scale: float
    """Factor on all formants, that is the inverse of the vocal tract's length: 0.88 to 1.18."""
    tilt: float
    """How fast the harmonics fall with frequency: 0.7 bright to 1.3 dull."""
    breath: float
    """Level of noise under the voice, as a share of full scale: 0.002 to 0.02."""
    articulation: float
    """How far the jaw and lips of this speaker go: 0.85 to 1.15."""
