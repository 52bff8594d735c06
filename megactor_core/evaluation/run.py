"""megactor evaluate: pairs of clips, scored once each, then summed up over the set."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.config.recipes import save_config
from megactor_core.engine.job import run_job
from megactor_core.engine.journal import Journal
from megactor_core.engine.stage import ROW_ID, ROW_VERSION, Row
from megactor_core.errors import Interrupted, OutputError, UsageError
from megactor_core.evaluation.clip import ScoreClips, arrays_path
from megactor_core.evaluation.controls import ControlResult, measure_controls
from megactor_core.evaluation.generate import find_held_out, generate, inputs_of
from megactor_core.evaluation.pairing import Pair, Pairing, pair_folders
from megactor_core.evaluation.protocol import Protocol, needs_of, settle
from megactor_core.evaluation.report import write_report
from megactor_core.evaluation.result import EvaluateResult, versions, write_result
from megactor_core.evaluation.sets import summarise_set
from megactor_core.files import read_json, require_writable_folder, sole_owner, write_json
from megactor_core.listener import Listener, OnNote, OnProgress

CONFIG, INPUTS, JOURNAL, LOCK = "config.yaml", "inputs.json", "journal", "lock"
OUTPUTS: Final = Path("outputs") / "evaluation"
_AGAIN: Final = " again"

Sets = Mapping[str, Pairing]
"""Pairings by mode; "" for two folders."""


def evaluate(
    config: EvaluateConfig, on_progress: OnProgress | None = None, on_note: OnNote | None = None
) -> EvaluateResult:
    """Score generated clips against real ones, and write the result into a folder.

    A pair that cannot be measured is a failure in the result and never stops the rest; what was measured
    survives any interruption, and the same call goes on. Clips are only read.
    Raises UsageError where there is nothing to compare or the output holds another evaluation, WeightsError
    for metrics asked for by name without their weights, OutputError where the output cannot be written.
    """
    listener = Listener.of(on_progress, on_note)
    progress, note = listener.progress, listener.note
    output = output_of(config)
    if config.checkpoint is not None:
        return _evaluate_checkpoint(config, config.checkpoint, output=output, progress=progress, note=note)
    generated, real = _folders(config)
    inputs = {"generated": str(generated.absolute()), "real": str(real.absolute())}
    _require_own_folder(output, inputs, sources=(generated, real))
    sets = {"": pair_folders(generated, real, most=config.clips)}
    protocol = settle(config, on_progress=progress)
    return score_sets(sets, protocol, config, output=output, inputs=inputs, progress=progress, note=note)


def _evaluate_checkpoint(
    config: EvaluateConfig, checkpoint: Path, *, output: Path, progress: OnProgress, note: OnNote
) -> EvaluateResult:
    """Animate the held-out clips, then score them; both go on where an earlier run was stopped."""
    if config.generated is not None or config.real is not None:
        raise UsageError(
            "Both a checkpoint and folders of clips were given.",
            fix="Give --checkpoint DIR --data DIR, or --generated DIR --real DIR.",
        )
    held_out = find_held_out(config)
    inputs = inputs_of(checkpoint, held_out, config)
    _require_own_folder(output, inputs, sources=(held_out.folder, checkpoint))
    protocol = settle(config, on_progress=progress)
    require_writable_folder(output)
    write_json(output / INPUTS, inputs)
    note(f"{len(held_out.samples)} {config.split} clips of '{held_out.folder}'.")
    doing: dict[str, Any] = {"output": output, "progress": progress, "note": note}
    sets = generate(checkpoint, held_out, config, **doing)
    control = measure_controls(checkpoint, held_out, config, **doing) if config.control.clips else None
    return score_sets(sets, protocol, config, inputs=inputs, control=control, **doing)


def score_sets(
    sets: Sets,
    protocol: Protocol,
    config: EvaluateConfig,
    *,
    output: Path,
    inputs: dict[str, str],
    progress: OnProgress,
    note: OnNote,
    control: ControlResult | None = None,
) -> EvaluateResult:
    """Score all pairs of all sets in one job, then sum up each set."""
    require_writable_folder(output)
    with sole_owner(output / LOCK):
        write_json(output / INPUTS, inputs)  # first: by it the folder is known for an evaluation's
        save_config(config, output / CONFIG)
        rows = _score(sets, protocol, config, output=output, progress=progress, note=note)
        result = EvaluateResult(
            output=output,
            inputs=inputs,
            protocol=protocol.to_json(),
            preprocessing=protocol.preprocessing,
            weights=protocol.weights,
            quoted=config.quoted,
            sets={
                mode: summarise_set(
                    [row for row in rows if (row["mode"] or "") == mode],
                    pairing,
                    protocol,
                    folder=output,
                    seed=config.bootstrap_seed,
                    on_done=_summing_up(mode, progress),
                )
                for mode, pairing in sets.items()
            },
            rows=tuple(rows),
            versions=versions(),
            control=control,
        )
        write_result(result)
        write_report(result)
    return result


def _summing_up(mode: str, progress: OnProgress) -> Callable[[int, int], None]:
    phase = f"summing up {mode}".strip()
    return lambda done, total: progress(phase, done, total)


def output_of(config: EvaluateConfig) -> Path:
    """The folder of the result: the one that is named, or one named after what is evaluated."""
    if config.output is not None:
        return config.output
    subject = config.checkpoint or config.generated
    name = subject.resolve().stem if subject is not None else "evaluation"
    return OUTPUTS / (name or "evaluation")


def _folders(config: EvaluateConfig) -> tuple[Path, Path]:
    if config.generated is None or config.real is None:
        given = "--generated" if config.generated else "--real" if config.real else "neither folder"
        raise UsageError(
            f"There is nothing to compare: {given} alone was given."
            if config.generated or config.real
            else "There is nothing to compare.",
            fix="Give --generated DIR --real DIR, or --checkpoint DIR --data DIR.",
        )
    return config.generated, config.real


def _require_own_folder(output: Path, inputs: dict[str, str], *, sources: Sequence[Path]) -> None:
    """Refuse to write among the clips, over something else, or over the result of another evaluation."""
    for source in sources:
        if output.resolve() == source.resolve() or source.resolve() in output.resolve().parents:
            raise OutputError(
                f"The output '{output}' lies in '{source}', which is only read.",
                fix="Choose another --output.",
            )
    if not output.is_dir():
        return
    visible = {path.name for path in output.iterdir() if not path.name.startswith(".")} - {LOCK}
    if visible and INPUTS not in visible:
        raise OutputError(
            f"'{output}' is not empty, and no result of an evaluation.", fix="Choose another --output."
        )
    for key, before in _earlier_inputs(output / INPUTS).items():
        if before != inputs.get(key):
            raise OutputError(
                f"'{output}' holds an evaluation with {key} = {before}; now {key} = {inputs.get(key)}.",
                fix="Choose another --output.",
            )


def _earlier_inputs(path: Path) -> dict[str, str]:
    """What an earlier evaluation in the folder compared; empty where it cannot be told."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _score(
    sets: Sets,
    protocol: Protocol,
    config: EvaluateConfig,
    *,
    output: Path,
    progress: OnProgress,
    note: OnNote,
) -> list[Row]:
    """The rows of all pairs, sorted by name, from this run or an earlier one."""
    pairs = [pair for pairing in sets.values() for pair in pairing.pairs]
    note(f"{len(pairs)} pairs; metrics: {', '.join(protocol.metrics) or 'none'}.")
    journal = Journal(output / JOURNAL)
    stage = ScoreClips(
        config=config,
        metrics=protocol.metrics,
        located=protocol.located,
        folder=output.absolute(),
        version=protocol.version,
        needs=needs_of(protocol, config),
    )
    try:
        job = run_job(
            [stage],
            _Rows(pairs, journal, output),
            journal=journal,
            config=_with_device(config),
            phase="scoring",
            on_progress=progress,
        )
    except (KeyboardInterrupt, Interrupted) as stop:
        kind = type(stop) if isinstance(stop, Interrupted) else Interrupted
        raise kind(
            f"Interrupted; the pairs that were scored are kept in '{output}'.",
            fix="Run the same command again to go on.",
        ) from None
    if job.skipped == job.rows:
        note(f"All {job.rows} pairs were scored already.")
    return journal.results([pair.row_id for pair in pairs])


def _with_device(config: EvaluateConfig) -> EvaluateConfig:
    """One numbered GPU where one is named; otherwise the engine's own choice."""
    return config.updated(devices=[config.device]) if config.device.startswith("cuda:") else config


class _Rows:
    """The rows of the job, of a known number. Arrays that somebody removed are made again."""

    def __init__(self, pairs: Sequence[Pair], journal: Journal, output: Path) -> None:
        self._pairs = pairs
        self._output = output
        self._done = {row[ROW_ID]: row[ROW_VERSION] for row in journal.results() if row["status"] == "ok"}

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[Row]:
        for pair in self._pairs:
            row = pair.to_row()
            done = str(self._done.get(pair.row_id, ""))
            if done.startswith(row[ROW_VERSION]):
                row[ROW_VERSION] = done if arrays_path(self._output, pair.row_id).is_file() else done + _AGAIN
            yield row
