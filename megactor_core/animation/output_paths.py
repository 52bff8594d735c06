"""Where one animation writes, checked so that nothing of the user's is destroyed."""

import json
from dataclasses import dataclass
from pathlib import Path

from megactor_core.errors import OutputError
from megactor_core.files import require_writable_folder


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """The files of one run; `compare` and `sheet` are None where they are not asked for."""

    video: Path
    compare: Path | None
    sheet: Path | None

    @property
    def description(self) -> Path:
        return description_of(self.video)


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
    for path in (paths.video, paths.compare, paths.sheet, paths.description):
        if path is not None:
            _require_harmless(path, inputs=inputs, ours=overwrite or _is_ours(video))
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
    try:
        description = json.loads(description_of(video).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(description, dict) and description.get("tool", "").startswith("megactor")
