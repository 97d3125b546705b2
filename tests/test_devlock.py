"""One device, one capture: across processes and users, freed by death, and the device is never opened."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import stat
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from fastcap import devlock
from fastcap.devlock import DeviceLock, device_key, list_locks
from fastcap.errors import FastcapError, SourceError

UID = os.geteuid()
NOBODY = 65534
INFO = {"user": "ann", "started": "2026-11-22T10:00:00+08:00", "expected_end": "2026-11-22T10:30:00+08:00"}
WHERE = {"destination": "/mnt/nas/run"}

needs_root = pytest.mark.skipif(UID != 0, reason="needs root to become somebody else")


@contextlib.contextmanager
def opens_of(path):
    """Yield a function that returns how often ``path`` was opened since it was last asked."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    in_open = 0x20
    assert fd >= 0
    assert libc.inotify_add_watch(fd, os.fsencode(path), in_open) > 0

    def count():
        try:
            return len(os.read(fd, 4096)) // struct.calcsize("iIII")
        except BlockingIOError:
            return 0

    yield count
    os.close(fd)


@contextlib.contextmanager
def process(work, uid=None):
    """Run ``work(say)`` in a process of its own, kept until the end; yield (pid, what it said, hear more)."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if uid is not None:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            work(lambda text: os.write(theirs, text.encode() + b"\n"))
            while True:
                signal.pause()
        except BaseException as error:  # whatever it was, the parent hears of it
            os.write(theirs, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(1)
    os.close(theirs)
    with open(ours) as hear:
        try:
            yield pid, hear.readline().strip()
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def holding(device, info=INFO):
    def work(say):
        lock = DeviceLock.acquire(device, info)
        say("held")
        globals()["_kept"] = lock

    return work


@pytest.fixture
def folders(monkeypatch):
    """Two directories that every user may write to, in place of /run/lock and /tmp."""
    with tempfile.TemporaryDirectory(prefix="locks-") as base:
        Path(base).chmod(0o755)
        made = [Path(base, name) for name in ("first", "second")]
        for folder in made:
            folder.mkdir()
            folder.chmod(0o1777)
        monkeypatch.setattr(devlock, "LOCK_DIRS", tuple(map(str, made)))
        yield made


@pytest.fixture
def device(folders):
    path = folders[0].parent / "usbhybrid0"
    path.touch()
    return str(path)


def own_path(folder, device, uid=UID):
    return Path(folder, f"fastcap-{device_key(device)}.{uid}.lock")


def refusal(device):
    with pytest.raises(SourceError) as caught:
        DeviceLock.acquire(device, INFO)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert device in message
    return message


@contextlib.contextmanager
def locked_file(path, content=b"", uid=None):
    path.write_bytes(content)
    path.chmod(0o644)
    if uid is not None:
        os.chown(path, uid, uid)
    fd = os.open(path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield
    os.close(fd)


def test_lock_says_who_and_is_readable_by_all(folders, device):
    before = os.umask(0o077)
    try:
        lock = DeviceLock.acquire(device, {**INFO, **WHERE, "pid": 1})
    finally:
        os.umask(before)
    path = own_path(folders[0], device)
    content = json.loads(path.read_text())

    assert lock.path == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert content == {
        **INFO, **WHERE, "uid": UID, "pid": os.getpid(), "device": device,
        "pid_start": int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]),
    }  # fmt: skip
    lock.release()


def test_released_lock_leaves_nothing_and_can_be_taken_again(folders, device):
    for _ in range(3):
        lock = DeviceLock.acquire(device, INFO)
        assert len(list_locks()) == 1
        lock.release()
        lock.release()
        assert list_locks() == []
        assert os.listdir(folders[0]) == os.listdir(folders[1]) == []


def test_what_is_not_told_has_a_default(folders, device):
    lock = DeviceLock.acquire(device, {})
    told = list_locks()[0]
    lock.release()

    assert told["user"]
    assert told["started"]
    assert (told["expected_end"], told["destination"]) == (None, None)


def test_second_capture_in_the_same_process_is_refused(device):
    lock = DeviceLock.acquire(device, {**INFO, **WHERE})
    message = refusal(device)
    lock.release()

    assert f"pid {os.getpid()}" in message


def test_capture_in_another_process_is_refused_with_who_when_and_where(device):
    with process(holding(device, {**INFO, **WHERE})) as (pid, said):
        assert said == "held"
        message = refusal(device)

    assert f"(pid {pid})" in message
    assert "since 2026-11-22T10:00:00+08:00" in message
    assert "until 2026-11-22T10:30:00+08:00" in message
    assert "writing to /mnt/nas/run" in message


def test_killed_holder_frees_the_device(folders, device):
    with process(holding(device)) as (pid, said):
        assert said == "held"
        refusal(device)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        assert own_path(folders[0], device).exists()
        assert list_locks() == []
        DeviceLock.acquire(device, INFO).release()
    assert os.listdir(folders[0]) == []


def test_inherited_descriptor_keeps_the_lock_alive(device):
    ours, theirs = os.pipe()

    def work(say):
        lock = DeviceLock.acquire(device, INFO)
        subprocess.Popen(["cat"], stdin=ours, pass_fds=[lock.fileno()])
        say("held")
        signal.pause()

    with process(work) as (pid, said):
        assert said == "held"
        os.close(ours)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        assert f"pid {pid}" in refusal(device)
        os.close(theirs)


def test_links_and_nodes_are_one_device(folders, device):
    link = folders[0].parent / "link"
    link.symlink_to(device)
    null = folders[0].parent / "null"
    null.symlink_to("/dev/null")
    lock = DeviceLock.acquire(str(link), INFO)

    assert "in use" in refusal(device)
    assert device_key(null) == device_key("/dev/null") == "1:3"
    assert device_key(device) != device_key("/dev/null")
    lock.release()


def test_other_device_is_free(folders, device):
    other = folders[0].parent / "usbhybrid1"
    other.touch()
    lock = DeviceLock.acquire(device, INFO)
    DeviceLock.acquire(str(other), INFO).release()
    DeviceLock.acquire("/dev/null", INFO).release()
    lock.release()


def test_device_is_never_opened(device):
    with opens_of(device) as opened:
        lock = DeviceLock.acquire(device, INFO)
        refusal(device)
        list_locks()
        lock.release()
        assert opened() == 0
        os.close(os.open(device, os.O_RDONLY))
        assert opened() == 1


@pytest.mark.parametrize("path", ["/dev/usbhybrid77", "/dev/null/x", "a\0b"])
def test_device_that_is_not_there_is_named(folders, path):
    with pytest.raises(SourceError, match="plugged in"):
        DeviceLock.acquire(path, INFO)
    assert os.listdir(folders[0]) == []


def test_update_changes_what_others_are_told(device):
    lock = DeviceLock.acquire(device, {**INFO, "note": "x" * 5000})
    lock.update({"destination": "/data", "note": ""})
    told = list_locks()[0]
    message = refusal(device)
    assert json.loads(Path(lock.path).read_text())["note"] == ""
    lock.release()

    assert (told["destination"], told["note"], told["user"]) == ("/data", "", "ann")
    assert told["key"] == device_key(device)
    assert "/data" in message


def test_half_written_text_is_read_once_it_is_whole(folders, device, monkeypatch):
    path = own_path(folders[0], device)
    monkeypatch.setattr(
        devlock.time, "sleep", lambda _: path.write_text(json.dumps({"pid": 77}) + "\nold tail}")
    )

    with locked_file(path, b'{"pid": 7'):
        assert list_locks()[0]["pid"] == 77


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"[1]", b"{", b"[" * 9000, b'{"pid": "1"}', b"null\n{}"]
)
def test_corrupt_lock_file_counts_only_while_held(folders, device, content, monkeypatch):
    monkeypatch.setattr(devlock, "_PROBE_S", 0.02)
    path = own_path(folders[0], device)
    with locked_file(path, content):
        assert "unknown process" in refusal(device)
        assert len(list_locks()) == 1

    assert list_locks() == []
    DeviceLock.acquire(device, INFO).release()


def test_text_of_others_cannot_forge_lines(folders, device):
    content = {"pid": 7, "started": "now\n\x1b[31mred", "expected_end": ["x"], "destination": "d" * 5000}
    with locked_file(own_path(folders[0], device), json.dumps(content).encode()):
        message = refusal(device)

    assert "now??[31mred" in message
    assert len(message) < 600


def test_somebody_who_only_looks_is_no_capture(folders, device, monkeypatch):
    path = own_path(folders[0], device)
    path.touch()
    looking = os.open(path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    naps = []

    def look_away(_):
        naps.append(1)
        fcntl.flock(looking, fcntl.LOCK_UN)

    monkeypatch.setattr(devlock.time, "sleep", look_away)
    DeviceLock.acquire(device, INFO).release()
    os.close(looking)
    assert naps == [1]


def test_file_removed_by_its_last_holder_meanwhile_is_made_anew(folders, device, monkeypatch):
    path = own_path(folders[0], device)
    real, removed = fcntl.flock, []

    def flock(fd, how):
        if not removed:
            removed.append(path.stat().st_ino)
            path.unlink()
        real(fd, how)

    monkeypatch.setattr(devlock.fcntl, "flock", flock)
    lock = DeviceLock.acquire(device, INFO)

    assert removed
    assert os.fstat(lock.fileno()).st_ino == path.stat().st_ino
    lock.release()


def test_release_leaves_a_file_that_is_not_its_own(folders, device):
    lock = DeviceLock.acquire(device, INFO)
    path = Path(lock.path)
    path.rename(path.with_suffix(".moved"))
    path.write_text("somebody else's")
    inherited = os.dup(lock.fileno())
    lock.release()

    assert path.read_text() == "somebody else's"
    with open(path.with_suffix(".moved")) as moved:
        fcntl.flock(moved, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free for those who inherited it, too
    os.close(inherited)


@pytest.mark.parametrize("what", ["link", "fifo", "folder"])
def test_what_stands_in_the_way_is_passed_by_for_the_other_directory(folders, device, what):
    path = own_path(folders[0], device)
    target = folders[0].parent / "target"
    target.write_text("precious")
    {"link": lambda: path.symlink_to(target), "fifo": lambda: os.mkfifo(path), "folder": path.mkdir}[what]()
    lock = DeviceLock.acquire(device, INFO)

    assert Path(lock.path).parent == folders[1]
    assert "in use" in refusal(device)
    assert target.read_text() == "precious"
    lock.release()


def test_lock_in_the_other_directory_is_seen(folders, device):
    with locked_file(own_path(folders[1], device), b'{"pid": 5}'):
        assert "pid 5" in refusal(device)
    assert os.listdir(folders[0]) == []


def test_no_place_for_a_lock_is_an_error(device, monkeypatch):
    monkeypatch.setattr(devlock, "LOCK_DIRS", ("/no/such", "/proc"))
    message = refusal(device)

    assert "cannot be locked" in message
    assert "/no/such" in message
    assert list_locks() == []


def test_full_disk_does_not_cost_the_lock(folders, device, monkeypatch, caplog):
    own_path(folders[0], device).write_text('{"pid": 1}')  # what a former holder told

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(devlock.os, "pwrite", full)
        lock = DeviceLock.acquire(device, INFO)

    assert "No space left" in caplog.text
    assert "unknown process" in refusal(device)
    lock.release()


@needs_root
def test_other_users_capture_is_refused_and_theirs_too(device):
    with process(holding(device, {**INFO, **WHERE}), uid=NOBODY) as (pid, said):
        assert said == "held"
        message = refusal(device)
        assert f"(pid {pid})" in message
        assert "nobody" in message
        assert list_locks()[0]["uid"] == NOBODY

    ours, theirs = os.pipe()

    def attempt(say):
        os.read(ours, 1)
        DeviceLock.acquire(device, INFO)
        say("held")

    with _racer(attempt, NOBODY) as said:  # forked before the lock is taken, or it would hold it, too
        lock = DeviceLock.acquire(device, INFO)
        os.write(theirs, b"x")
        assert f"in use by root (pid {os.getpid()})" in said()
        lock.release()
    os.close(ours)
    os.close(theirs)


@needs_root
def test_file_that_another_user_left_is_no_obstacle(folders, device):
    own_path(folders[0], device, NOBODY).touch()
    os.chown(own_path(folders[0], device, NOBODY), NOBODY, NOBODY)

    DeviceLock.acquire(device, INFO).release()
    assert own_path(folders[0], device, NOBODY).exists()


@needs_root
def test_lock_under_a_borrowed_name_is_ignored(folders, device):
    with locked_file(own_path(folders[0], device, 1000), b"{}", uid=NOBODY):
        DeviceLock.acquire(device, INFO).release()
        assert list_locks() == []


@needs_root
def test_own_name_taken_by_another_user_is_passed_by(folders, device):
    with locked_file(own_path(folders[0], device), b"{}", uid=NOBODY):
        lock = DeviceLock.acquire(device, INFO)
        assert Path(lock.path).parent == folders[1]
        lock.release()


@pytest.mark.parametrize("uids", [(None, None, None), pytest.param((None, NOBODY, 65533), marks=needs_root)])
def test_never_two_at_once_whoever_races(folders, device, uids):
    inside = folders[0].parent / "inside"
    inside.mkdir()
    inside.chmod(0o777)
    begin, hold = os.pipe()
    held_at_least = 10

    def race(say):
        os.close(hold)
        os.read(begin, 1)
        won = 0
        while won < held_at_least:
            try:
                lock = DeviceLock.acquire(device, INFO)
            except FastcapError:
                continue
            os.mkdir(inside / "one")  # fails if anybody else is inside
            won += 1
            os.rmdir(inside / "one")
            lock.release()
        say("done")

    with contextlib.ExitStack() as stack:
        racers = [stack.enter_context(_racer(race, uid)) for uid in uids]
        os.close(begin)
        os.close(hold)
        assert [racer() for racer in racers] == ["done"] * len(uids)


@contextlib.contextmanager
def _racer(work, uid):
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "died"
        try:
            if uid is not None:
                os.setgroups([])
                os.setresuid(uid, uid, uid)

            def say(text):
                nonlocal said
                said = text

            work(say)
        except BaseException as error:  # whatever it was, the parent hears of it
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(theirs, said.encode())
            os._exit(0)
    os.close(theirs)
    with open(ours) as hear:
        yield hear.read
    os.waitpid(pid, 0)
