"""Read by another process: the same as in this one, and every way for that process to fail is one error."""

import gc
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from megactor_core.config.media import MediaLimits
from megactor_core.errors import MediaError, MegActorError, OutOfMemory
from megactor_core.media import apart, audio, container, image, video

Clip = Callable[..., Path]

on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks other processes up in /proc"
)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes that a test starts, none of them from before; all have ended after it."""
    processes: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def remembered(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        processes.append(start(*arguments, **options))  # type: ignore[call-overload]
        return processes[-1]

    apart._kill_all()
    monkeypatch.setattr(apart.subprocess, "Popen", remembered)
    yield processes
    apart._kill_all()
    assert all(process.poll() is not None for process in processes)


@pytest.fixture
def large_clip(make_clip: Clip) -> Path:
    """Six frames of noise, more than fits into the pipe."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 480, 640, 3), np.uint8)
    return make_clip("large.mp4", frames=list(noise))


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (8000, 2)), 16_000)
    return path


def state_of(pid: int) -> tuple[str, int]:
    """Of a process: its state as in proc(5), X where there is none, and its parent."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return state, int(parent)


def children_of(parent: int) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if state_of(pid)[1] == parent]


def is_running(pid: int) -> bool:
    return state_of(pid)[0] not in "XZ"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"video_fps": Fraction(30)},
        {"video_fps": Fraction(24000, 1001), "start_seconds": 0.12, "seconds": 0.2},
        {"limits": MediaLimits(decode_threads=1)},
    ],
)
def test_frames_are_the_same_parity(make_clip: Clip, options: dict) -> None:
    clip = make_clip()
    ours, theirs = list(apart.read_video(clip, **options)), list(video.read_video(clip, **options))
    assert len(ours) == len(theirs) > 0
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(ours, theirs, strict=True))


def test_what_a_file_says_is_the_same_parity(make_clip: Clip) -> None:
    for clip in (make_clip(), make_clip("odd.mkv", video_fps=Fraction(30000, 1001), codec="ffv1")):
        assert apart.probe_video(clip) == video.probe_video(clip)


def test_sounds_are_the_same_parity(speech: Path) -> None:
    for options in ({}, {"start_seconds": 0.1, "seconds": 0.25}):
        ours, theirs = apart.read_sound(speech, **options), audio.read_sound(speech, **options)
        assert ours.audio_hz == theirs.audio_hz
        assert ours.samples.dtype == theirs.samples.dtype
        np.testing.assert_array_equal(ours.samples, theirs.samples)


def test_images_are_the_same_parity(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    image.write_image(path, np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8))
    np.testing.assert_array_equal(apart.read_image(path), image.read_image(path))


@pytest.mark.parametrize("kind", ["image", "sound", "probe", "video"])
def test_refusals_are_the_same(tmp_path: Path, kind: str) -> None:
    def message(module: object, path: Path) -> str:
        read = getattr(module, {"probe": "probe_video"}.get(kind, f"read_{kind}"))
        with pytest.raises(MediaError) as caught:
            list(read(path))
        return f"{caught.value.message}\n{caught.value.fix}"

    direct = {"image": image, "sound": audio}.get(kind, video)
    (tmp_path / "text.mp4").write_text("no media\n" * 100)
    for path in (tmp_path / "text.mp4", tmp_path / "nothing.mp4", tmp_path, tmp_path / "a\0b"):
        assert message(apart, path) == message(direct, path)


def test_one_process_serves_many_requests(make_clip: Clip, speech: Path, started: list) -> None:
    clip = make_clip()
    for _ in range(3):
        apart.probe_video(clip)
        apart.read_sound(speech)
        assert len(list(apart.read_video(clip))) == 10
    with pytest.raises(MediaError):
        apart.read_sound(clip)
    apart.read_sound(speech)
    assert len(started) == 1


def test_started_ahead_is_the_one_that_serves(speech: Path, started: list) -> None:
    apart.start_ahead()
    apart.start_ahead()
    apart.read_sound(speech)
    assert len(started) == 1


def test_two_films_at_once(make_clip: Clip, started: list) -> None:
    one, other = make_clip("one.mp4"), make_clip("other.mp4", frames=7)
    pairs = list(zip(apart.read_video(one), apart.read_video(other), strict=False))
    assert len(pairs) == 7
    assert all(np.array_equal(a, b) for a, b in pairs[:3])
    gc.collect()
    assert len(list(apart.read_video(one))) == 10
    assert len(started) <= 3


def test_a_film_that_is_left_ends_its_process(make_clip: Clip, started: list) -> None:
    frames = apart.read_video(make_clip())
    next(frames)
    assert started[0].poll() is None
    frames.close()  # type: ignore[attr-defined]
    assert started[0].poll() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGSEGV, r"crashed on '.*large.mp4' \(SIGSEGV\)"),
        (signal.SIGKILL, r"read '.*large.mp4' was killed"),
    ],
)
def test_a_crash_is_an_error_and_the_next_file_is_read(
    number: signal.Signals, told: str, large_clip: Path, started: list
) -> None:
    frames = apart.read_video(large_clip)
    next(frames)
    started[0].send_signal(number)
    with pytest.raises(MegActorError, match=told):
        list(frames)
    assert len(list(apart.read_video(large_clip))) == 6


def test_one_that_died_while_idle_is_replaced(speech: Path, started: list) -> None:
    apart.read_sound(speech)
    started[0].kill()
    started[0].wait()
    apart.read_sound(speech)
    assert len(started) == 2


def test_a_decoder_that_hangs_is_ended(
    make_clip: Clip, started: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel ends it at its time limit, whatever it is doing; here the limit is what no read can hold."""
    monkeypatch.setattr(apart, "LEAST_SECONDS", 1e-6)
    monkeypatch.setattr(apart, "SECONDS_PER_BYTE", 0.0)
    with pytest.raises(MediaError, match="got nowhere for 0 s"):
        apart.probe_video(make_clip())
    assert started[0].returncode == -signal.SIGALRM


def test_alarms_end_it_whatever_this_process_does_with_them(
    speech: Path, started: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "LEAST_SECONDS", 1e-6)
    monkeypatch.setattr(apart, "SECONDS_PER_BYTE", 0.0)
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        with pytest.raises(MediaError, match="got nowhere"):
            apart.read_sound(speech)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGALRM, before)


def test_a_long_film_is_not_a_hang(make_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header without a length means decoding all of it: each packet starts the clock again."""
    clip = make_clip(frames=30)
    calls: list[int] = []
    monkeypatch.setattr(container, "not_stuck", lambda: calls.append(1))
    assert len(list(video.read_video(clip))) == 30
    assert len(calls) >= 30
    calls.clear()
    monkeypatch.setattr(video._Clip, "declared_seconds", lambda _: None)
    video.probe_video(clip)
    assert len(calls) >= 30


@pytest.mark.slow
def test_a_listener_may_take_its_time(
    large_clip: Path, started: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is on decoding: whoever looks for faces between two frames is not timed."""
    monkeypatch.setattr(apart, "LEAST_SECONDS", 3.0)
    frames = apart.read_video(large_clip)
    next(frames)
    time.sleep(4)
    assert len(list(frames)) == 5
    assert len(started) == 1


@on_linux
def test_a_file_that_wants_more_memory_than_there_is(tmp_path: Path, started: list) -> None:
    large = tmp_path / "large.png"
    image.write_image(large, np.zeros((6000, 6000, 3), np.uint8))
    small = tmp_path / "small.png"
    image.write_image(small, np.zeros((6, 6, 3), np.uint8))
    apart.read_image(small)
    status = Path(f"/proc/{started[0].pid}/status").read_text()
    taken = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData"))
    resource.prlimit(started[0].pid, resource.RLIMIT_DATA, (taken + (32 << 20),) * 2)
    with pytest.raises(OutOfMemory, match=r"large.png' takes more memory than there is"):
        apart.read_image(large)
    assert apart.read_image(small).shape == (6, 6, 3)
    assert len(started) == 1


@on_linux
def test_it_may_take_the_machines_memory_and_no_more(speech: Path, started: list) -> None:
    apart.read_sound(speech)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = Path(f"/proc/{started[0].pid}/limits").read_text()
    assert f"{memory}" in next(line for line in limits.splitlines() if line.startswith("Max data size"))


def test_ctrl_c_does_not_reach_it(make_clip: Clip, started: list) -> None:
    frames = apart.read_video(make_clip())
    next(frames)
    for number in (signal.SIGINT, signal.SIGTERM):
        started[0].send_signal(number)
    assert len(list(frames)) == 9


@on_linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_the_process_that_asked(make_clip: Clip, how: signal.Signals) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom megactor_core.media import apart\n"
        "frames = apart.read_video(Path(sys.argv[1]))\nnext(frames)\napart.start_ahead()\n"
        "print('ready', flush=True)\ntime.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(make_clip())]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        assert parent.stdout.readline() == "ready\n"
        children = children_of(parent.pid)
    finally:
        parent.send_signal(how)
        parent.wait()
        parent.stdout.close()
    assert len(children) == 2
    until = time.monotonic() + 20
    while any(is_running(pid) for pid in children):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_fork_starts_its_own(speech: Path, started: list) -> None:
    """Two processes that write to one pipe would get each other's answers."""
    apart.read_sound(speech)
    child = os.fork()
    if child == 0:
        try:
            apart.read_sound(speech)
            os._exit(0 if len(started) == 2 and started[0].pid != started[1].pid else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    apart.read_sound(speech)
    assert len(started) == 1


def test_names_are_as_this_process_means_them(
    speech: Path, started: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative to a folder that changes; bytes that are no text; an option's look."""
    apart.start_ahead()
    other = tmp_path / "folder"
    other.mkdir()
    monkeypatch.chdir(other)
    for name in (b"-y.wav", b"a\xff b.wav", "\N{SNOWMAN}\n.wav".encode()):
        path = Path(os.fsdecode(name))
        path.write_bytes(speech.read_bytes())
        assert len(apart.read_sound(path).samples) == 8000
        with pytest.raises(MediaError) as caught:
            apart.read_sound(Path(f"{path}x"))
        assert str(tmp_path) not in caught.value.message
    assert len(started) == 1


def test_files_of_the_working_folder_are_no_modules(
    speech: Path, started: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("numpy.py", "json.py", "megactor_core.py"):
        (tmp_path / name).write_text("raise SystemExit('taken over')")
    assert len(apart.read_sound(speech).samples) == 8000


def test_with_standard_error_closed_what_libraries_print_is_no_answer(speech: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom megactor_core.media import apart\n"
        "apart.read_sound(Path(sys.argv[1]))\n"
        "pid = apart._idle[0]._process.pid\n"
        "print(*(os.readlink(f'/proc/{pid}/fd/{number}') for number in (1, 2)))\n"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" 2>&-', sys.executable, "-c", script, str(speech)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == "/dev/null /dev/null\n"


def test_a_bug_is_told_with_where_it_is(speech: Path, started: list) -> None:
    """What MEGACTOR_DEBUG shows."""
    with pytest.raises(RuntimeError, match=r"reading '.*speech.wav': ValueError") as caught:
        next(
            apart._ask(
                speech, MediaLimits(), read="video", video_fps="x", begin_seconds=0, length_seconds=None
            )
        )
    assert "decoder.py" in caught.value.__notes__[0]
    assert len(apart.read_sound(speech).samples) == 8000


def test_one_that_cannot_start_is_no_fault_of_the_file(
    speech: Path, started: list, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(apart.sys, "path", [])
    monkeypatch.setattr(apart.sys, "executable", "/bin/false")
    with pytest.raises(MegActorError, match=r"could not start \(exit code 1\)") as caught:
        apart.read_sound(speech)
    assert not isinstance(caught.value, MediaError)
