"""What a node must have, without a cluster."""

from dataclasses import replace
from pathlib import Path

import pytest

from megactor_core.config.engine import EngineConfig
from megactor_core.engine.stage import WorkerContext
from megactor_core.errors import ConfigError

pytest.importorskip("ray")
from megactor_core.engine.preflight import MIN_FREE_BYTES, NodeFacts, look, paths_in, require_fit


@pytest.fixture
def here(tmp_path: Path) -> NodeFacts:
    """This machine, with a folder of sources, one of weights, a file, and a path to nothing."""
    for name in ("sources", "weights"):
        (tmp_path / name).mkdir()
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "sync.model").write_bytes(b"sync")
    token = tmp_path / "token"
    token.write_text("said")
    paths = [str(tmp_path / name) for name in ("nothing", "sources", "sync.model", "weights")]
    return look(paths, token)


def test_a_machine_fits_itself(here: NodeFacts) -> None:
    require_fit(here, here, where="here")
    assert {"h264", "aac", "opus"} <= here.decoders
    nothing, sources, sync, weights = here.files.values()
    assert (nothing, sources) == ("", "folder")
    assert len(sync) == len(weights) == 64
    assert here.journal == ("said", True)


def test_look_leaves_nothing_behind(here: NodeFacts, tmp_path: Path) -> None:
    assert {path.name for path in tmp_path.iterdir()} == {"sources", "weights", "sync.model", "token"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"version": "0.0.1"}, "has megactor 0.0.1, this machine"),
        ({"journal": ("", False)}, "does not see the output's journal"),
        ({"journal": ("said", False)}, "cannot write to the output's journal"),
        ({"decoders": frozenset({"h264"})}, "cannot decode aac, av1"),
        ({"free_bytes": MIN_FREE_BYTES - 1}, "1.1 GB are wanted"),
    ],
)
def test_an_unfit_node_is_named_with_what_it_lacks(
    here: NodeFacts, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(ConfigError, match=rf"The node 'n2' {text}|The node 'n2' has .*{text}"):
        require_fit(here, replace(here, **changes), where="'n2'")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "said"), [("weights", "known by SHA-256"), ("sources", "a folder")])
def test_other_or_missing_files_are_named(here: NodeFacts, tmp_path: Path, name: str, said: str) -> None:
    path = str(tmp_path / name)
    with pytest.raises(ConfigError, match=rf"{name}' is missing on the node 'n2', {said}"):
        require_fit(here, replace(here, files={**here.files, path: ""}), where="'n2'")


def test_other_weights_change_what_a_folder_is_known_by(here: NodeFacts, tmp_path: Path) -> None:
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"other")
    after = look(list(here.files), tmp_path / "token")
    with pytest.raises(ConfigError, match="weights' is known by"):
        require_fit(here, after, where="'n2'")


def test_paths_are_found_however_deep(tmp_path: Path) -> None:
    class Stage:
        pass

    found = set(paths_in({"a": [tmp_path / "x"], "b": (WorkerContext(), EngineConfig(), tmp_path / "y")}))
    assert found == {tmp_path / "x", tmp_path / "y"}
    assert not list(paths_in(Stage()))
