"""A kill, a signal, a full disk, an error, a disk that cannot be written to: at every call of every command.

After each fault results of before are as they were, names of results hold whole files, an error is one
message, and the same command completes the work with the result of a run that nothing disturbed.
"""

import os

import pytest

EXHAUSTIVE = os.environ.get("MEGACTOR_FAULTS") == "all"


@pytest.mark.slow
def test_faults_under_every_command(fault_count, fault_trials) -> None:
    """MEGACTOR_FAULTS=all takes every call; that takes hours."""
    plan = dict.fromkeys(fault_count.COMMANDS, 0) if EXHAUSTIVE else dict.fromkeys(fault_count.COMMANDS, 1)
    lines = fault_trials(plan)
    assert fault_count.wrong(lines) == []
    for kind in fault_count.KINDS:
        assert any(line["kind"] == kind and line["failed"] for line in lines), f"no run was {kind}"
    assert {line["command"] for line in lines} == set(fault_count.COMMANDS)


def test_commands_of_the_table_are_those_of_the_trials(fault_count) -> None:
    source = (fault_count.HERE / "fault_commands.py").read_text()
    assert all(f'"{name}"' in source for name in fault_count.COMMANDS)
