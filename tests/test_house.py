"""The rules of the house, read off the source: who may import whom, and what the core may not do."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LEVELS = (
    {"errors"},
    {"files", "listener", "processes", "signals", "terminal", "version", "weights_registry"},
    {"config", "weights_sources"},
    {"media", "engine", "pages", "weights", "provenance"},
    {"faces"},
    {"models", "diffusion", "synthetic"},
    {"metrics", "data"},
    {"animation", "curation", "preprocessing"},
    {"evaluation"},
    {"training"},
    {"demo", "doctor"},
)
"""The parts of megactor_core, lowest first: imports go down, never up and never sideways."""
LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}

CORE = sorted((ROOT / "megactor_core").rglob("*.py"))
CLI = sorted((ROOT / "megactor_cli").rglob("*.py"))


def _id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


each_core_module = pytest.mark.parametrize("path", CORE, ids=_id)
each_module = pytest.mark.parametrize("path", CORE + CLI, ids=_id)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(path: Path) -> Iterator[str]:
    """Dotted names of everything a module imports, inside functions too."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_id(path)}: relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _dotted(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_dotted(value)}.{name}"
        case _:
            return ""


def _part(dotted: str) -> str:
    return dotted.split(".")[1]


@each_core_module
def test_imports_go_down_only(path: Path) -> None:
    part = path.relative_to(ROOT / "megactor_core").parts[0].removesuffix(".py")
    if part == "__init__":
        return
    assert part in LEVEL_OF, f"{part} has no level yet"
    for name in _imports(path):
        assert not name.startswith("megactor_cli"), f"{_id(path)} imports the command line"
        if name.startswith("megactor_core."):
            other = _part(name)
            assert other == part or LEVEL_OF[other] < LEVEL_OF[part], f"{_id(path)} imports {name}"


@pytest.mark.parametrize("package", ["megactor_core", "megactor_cli"])
def test_package_init_files_are_empty(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    for folder in folders:
        assert (folder / "__init__.py").read_bytes() == b"", f"{folder} has an __init__.py that is not empty"


def test_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@each_module
def test_only_the_console_draws(path: Path) -> None:
    if path.name == "console.py" and path.parent.name == "megactor_cli":
        return
    drawing = {name for name in _imports(path) if name.split(".")[0] in {"rich", "tqdm"}}
    assert not drawing


@each_core_module
def test_the_core_never_talks_and_never_exits(path: Path) -> None:
    forbidden = {
        *("print", "input", "exit", "quit", "breakpoint"),
        *("sys.exit", "sys.argv", "sys.stdout", "sys.stderr", "os._exit", "os.abort"),
        *("SystemExit", "warnings.warn"),
    }
    used = {_dotted(node) for node in ast.walk(_tree(path)) if isinstance(node, ast.Name | ast.Attribute)}
    assert not used & forbidden
    assert not {name for name in _imports(path) if name.split(".")[0] in {"typer", "click", "argparse"}}


@each_module
def test_banned_packages_stay_out(path: Path) -> None:
    banned = {"torchvision", "torchaudio", "torchcodec", "pickle", "marshal", "shelve", "dill", "joblib"}
    assert not {name for name in _imports(path) if name.split(".")[0] in banned}


@each_module
def test_nothing_is_run_or_loaded_unsafely(path: Path) -> None:
    calls = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)]
    for call in calls:
        name = _dotted(call.func)
        keywords = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
        assert name not in {"eval", "exec", "compile", "os.system", "os.popen"}, f"{_id(path)}: {name}"
        assert keywords.get("shell") is not True, f"{_id(path)}: shell=True"
        if name == "torch.load":
            assert keywords.get("weights_only") is True, f"{_id(path)}: torch.load without weights_only=True"
        if name in {"np.load", "numpy.load"}:
            assert keywords.get("allow_pickle") is not True, f"{_id(path)}: allow_pickle=True"


@pytest.mark.parametrize(
    "path",
    [path for path in CORE if path.parent.name == "config"] + [ROOT / "megactor_core/errors.py"],
    ids=_id,
)
def test_configuration_and_errors_are_light(path: Path) -> None:
    light = {"pydantic", "pydantic_core", "yaml", "megactor_core"} | set(sys.stdlib_module_names)
    assert {name.split(".")[0] for name in _imports(path)} <= light
