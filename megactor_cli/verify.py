"""megactor verify: was a video made by a model, and has it been changed since?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from megactor_cli.console import Console, describe_error
from megactor_cli.options import Json, Quiet, given_path
from megactor_core.errors import MegActorError

if TYPE_CHECKING:
    from megactor_core.animation.verify import VerifyReport
    from megactor_core.provenance.read import Credential

EXIT_CODES: Final = {"valid": 0, "altered": 1, "unsigned": 3}
_FAILED: Final = 2
_WORST_FIRST: Final = (EXIT_CODES["altered"], _FAILED, EXIT_CODES["unsigned"])
"""Of several files an altered one counts more than one that cannot be read, and that more than an
unsigned one."""

_SAID: Final = {
    "trusted": "trusted: unchanged since it was signed by a key that is trusted here",
    "valid": "valid, by an unknown key: unchanged since it was signed, but anybody can make such a key",
    "altered": "altered: changed since it was signed",
    "invalid": "invalid: the certificate of its signature cannot be accepted",
    "absent": "none: unsigned, or removed by a copy of the streams",
}
_BESIDE: Final = {
    "agrees": "it is of this very file",
    "absent": "none",
    "unreadable": "it cannot be read",
    "of another file": "its hash is another file's, or this file has changed",
}


def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", parser=given_path, help="Videos.")],
    anchor: Annotated[
        Path | None,
        typer.Option(
            metavar="PEM", parser=given_path, help="Certificates to trust, beside this user's own key."
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what a video tells of its origin: signature, tags, description, badge.

    Exit code: 0 the signature is valid, 1 altered since, 3 unsigned, 2 not a video.

    Example: megactor verify outputs/talk.mp4
    """
    from megactor_core.animation.verify import verify as run

    console = Console(json=json, quiet=quiet)
    if len(files) == 1:
        report = run(files[0], anchor=anchor)
        console.print_json(report.to_json()) if json else _show(report, console)
        raise typer.Exit(EXIT_CODES[report.verdict])
    results: list[VerifyReport | MegActorError] = []
    for file in files:
        try:
            results.append(run(file, anchor=anchor))
        except MegActorError as error:
            results.append(error)
    _show_many(files, results, console)
    codes = {
        _FAILED if isinstance(result, MegActorError) else EXIT_CODES[result.verdict] for result in results
    }
    raise typer.Exit(next((code for code in _WORST_FIRST if code in codes), 0))


def _show(report: "VerifyReport", console: Console) -> None:
    facts = {"file": report.file, "signature": _signature(report.credential)}
    if report.credential.state != "absent":
        facts |= _signed(report.credential)
    facts["tags"] = "none" if report.tags is None else f"made by {report.tags['tool']}"
    facts["description"] = f"{report.file.name}.json: {_BESIDE[report.description]}"
    if report.disagree:
        facts["disagree"] = f"manifest, tags and description differ in {', '.join(report.disagree)}"
    facts["badge"] = _badge(report.badge)
    console.facts(facts)


def _signature(credential: "Credential") -> str:
    problems = f" ({', '.join(credential.problems)})" if credential.problems else ""
    return f"{_SAID[credential.state]}{problems}"


def _signed(credential: "Credential") -> dict[str, Any]:
    told = credential.facts
    facts: dict[str, Any] = {
        "signed by": credential.signer or credential.signed_by,
        "made by": credential.made_by,
        "source": (credential.source_type or "not stated").rpartition("/")[2],
    }
    for name in ("checkpoint", "checkpoint_sha256", "seed", "audio_scale", "alpha"):
        if name in told:
            facts[name.replace("_", " ")] = told[name]
    if credential.ingredients:
        facts["made of"] = [_ingredient(row) for row in credential.ingredients]
    return facts


def _ingredient(row: dict[str, Any]) -> str:
    kept = ", with its own manifest" if row["signed"] else ""
    return f"{row['name']} (sha256 {(row['sha256'] or 'not stated')[:12]}{kept})"


def _badge(badge: dict[str, Any] | None) -> str:
    if badge is None:
        return "not stated"
    if not badge["until_seconds"]:
        return "stated as off"
    return f"stated as '{badge.get('text')}' in the first {badge['until_seconds']:g} s"


def _show_many(
    files: Sequence[Path], results: "Sequence[VerifyReport | MegActorError]", console: Console
) -> None:
    if console.json:
        rows = [
            {"file": str(file), "error": describe_error(result)}
            if isinstance(result, MegActorError)
            else result.to_json()
            for file, result in zip(files, results, strict=True)
        ]
        console.print_json({"files": rows})
        return
    table = [
        [file, "error", str(result)]
        if isinstance(result, MegActorError)
        else [file, result.verdict, _signature(result.credential)]
        for file, result in zip(files, results, strict=True)
    ]
    console.table(["file", "verdict", "signature"], table)
