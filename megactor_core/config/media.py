"""How large an image, video or sound may be before it is refused unread.

A few kilobytes can unpack to gigabytes, so sizes are checked from the header before anything is decoded, and
again on what was decoded. The paper says nothing on this; every default is ours, set well above what portrait
animation needs and well below what exhausts a workstation.
"""

from typing import Final

from pydantic import Field

from megactor_core.config.base import Config


class MediaLimits(Config):
    """Upper bounds on what the media readers accept; none of the numbers is in the paper."""

    max_file_bytes: int = Field(default=64 * 2**30, ge=1)
    """Bytes of any one file."""
    max_image_pixels: int = Field(default=100_000_000, ge=1)
    """Width times height of a still image: 100 million, about 300 MB once decoded."""
    max_video_pixels: int = Field(default=8192 * 4320, ge=1)
    """Width times height of one video frame: 8K."""
    max_video_side: int = Field(default=8192, ge=1)
    """Longer side of a video frame in pixels."""
    max_video_seconds: float = Field(default=6 * 3600, gt=0)
    """Length of a video; frames are streamed, so this bounds time and not memory."""
    max_sound_seconds: float = Field(default=2 * 3600, gt=0)
    """Length of a sound, which is held in memory whole: two hours of 48 kHz stereo are 2.8 GB."""
    max_sound_channels: int = Field(default=16, ge=1)
    """Channels of a sound."""
    max_sound_hz: int = Field(default=384_000, ge=1)
    """Samples a second of a sound."""
    decode_threads: int = Field(default=2, ge=1)
    """Threads of one video decoder; curation gets its parallelism from processes. No effect on the frames."""


DEFAULT_LIMITS: Final = MediaLimits()
