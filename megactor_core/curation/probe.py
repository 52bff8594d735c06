"""Gate `probe`: what the file says of itself, and how much of that it holds."""

from typing import Any

from megactor_core.curation.part import Part


def measure_probe(part: Part) -> dict[str, Any]:
    """Size, rate and length of the picture, and whether there is sound; raises MediaError."""
    info = part.probe()
    end = info.seconds if part.end_seconds is None else part.end_seconds
    seconds = max(0.0, end - part.start_seconds)
    there = min(part.packets().until_seconds, end) - part.start_seconds
    return {
        "width": info.width,
        "height": info.height,
        "video_fps": float(info.video_fps),
        "seconds": seconds,
        "readable_share": min(1.0, max(0.0, there / seconds)) if seconds else 0.0,
        "codec": info.codec,
        "container": info.container,
        "has_sound": info.has_sound,
        "file_bytes": part.path.stat().st_size,
    }
