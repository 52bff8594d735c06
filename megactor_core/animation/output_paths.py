"""Where one animation writes, checked so that nothing of the user's is destroyed."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megactor_core.config.media import MediaLimits
from megactor_core.errors import MediaError, OutputError
from megactor_core.files import read_json, require_writable_folder
from megactor_core.media.container import open_container


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """The files of one run; `compare` and `sheet` are None where they are not asked for."""

    video: Path
    compare: Path | None
    sheet: Path | None

    @property
    def description(self) -> Path:
        return description_of(self.video)

    def clear_half_written(self) -> None:
        """Remove what killed runs left half written. Only for who has claimed the run's folder."""
        stem = re.escape(self.video.stem)
        partial = re.compile(
            rf"\.{stem}(\.(mp4|compare|fragments|unsealed|sheet))*\.partial-\d+\.(mp4|png|json)"
        )
        for path in self.video.parent.glob(".*.partial-*"):
            if partial.fullmatch(path.name):
                path.unlink(missing_ok=True)


def description_of(video: Path) -> Path:
    """FILE.json beside FILE."""
    return video.with_name(video.name + ".json")


def plan_outputs(
    video: Path, *, inputs: list[Path], overwrite: bool, compare: bool, sheet: bool
) -> OutputPaths:
    """Check that the outputs can be written and would destroy nothing; nothing is written yet.

    A file that this tool wrote before (its description says so) is replaced; any other needs `overwrite`.
    Raises OutputError.
    """
    if video.suffix.lower() != ".mp4":
        raise OutputError(f"The output '{video}' does not end in .mp4.", fix="Use --output NAME.mp4.")
    paths = OutputPaths(
        video=video,
        compare=video.with_suffix(".compare.mp4") if compare else None,
        sheet=video.with_suffix(".sheet.png") if sheet else None,
    )
    ours = overwrite or _is_ours(video)
    for path in (paths.video, paths.compare, paths.sheet, paths.description):
        if path is not None:
            _require_harmless(path, inputs=inputs, ours=ours or _says_it_is_ours(path))
    require_writable_folder(video.parent)
    return paths


def _require_harmless(path: Path, *, inputs: list[Path], ours: bool) -> None:
    if not path.exists():
        return
    if any(path.samefile(source) for source in inputs if source.exists()):
        raise OutputError(f"The output '{path}' is also an input.", fix="Choose another --output.")
    if path.is_dir():
        raise OutputError(f"The output '{path}' is a folder.", fix="Use --output FOLDER/NAME.mp4.")
    if not ours:
        raise OutputError(
            f"'{path}' exists and was not written by megactor.",
            fix="Choose another --output, or add --overwrite.",
        )


def _is_ours(video: Path) -> bool:
    """Whether the description says so, or the video: one whose run was killed has no description yet."""
    try:
        description = read_json(description_of(video))
    except (OSError, ValueError):
        return _says_it_is_ours(video)
    return _names_this_tool(description)


def _says_it_is_ours(video: Path) -> bool:
    """Whether a video's own metadata name this tool."""
    try:
        return read_tags(video, limits=MediaLimits()) is not None
    except (MediaError, ValueError):
        return False


def read_tags(video: Path, *, limits: MediaLimits) -> dict[str, Any] | None:
    """The facts in a video's own metadata (see `marks.tags_of`); None where there are none of this tool.

    Raises MediaError where it is no video that can be read.
    """
    with open_container(video, limits=limits) as container:
        try:
            tags = json.loads(container.metadata.get("comment", ""))
        except (ValueError, RecursionError):
            return None
    return tags if _names_this_tool(tags) else None


def _names_this_tool(values: Any) -> bool:
    return isinstance(values, dict) and str(values.get("tool", "")).startswith("megactor")
