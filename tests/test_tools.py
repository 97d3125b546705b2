import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import InThread, error_of, median, requires_fuse, timed, wait_until

from tools.faultmodel import Rule

MIB = 1 << 20
TOOLS = Path(__file__).parents[1] / "tools"
pytestmark = requires_fuse


@pytest.fixture
def fs(faultfs):
    return faultfs()


@pytest.fixture
def file(fs):
    """A file of the mount, open for reading and writing."""
    fd = os.open(fs.mount / "run.bin.part", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    yield fd
    os.close(fd)


def test_bytes_pass_unchanged(fs, file):
    pieces = [(0, os.urandom(3 * MIB + 5)), (2 * MIB + 1, os.urandom(17)), (4 * MIB, b"end")]
    expected = bytearray(4 * MIB + 3)
    for offset, piece in pieces:
        assert os.pwrite(file, piece, offset) == len(piece)
        expected[offset : offset + len(piece)] = piece
    os.fsync(file)

    assert (fs.backing / "run.bin.part").read_bytes() == expected
    assert (fs.mount / "run.bin.part").read_bytes() == expected
    assert fs.log() == []


def test_names_are_listed_as_they_are(fs, file):
    (fs.backing / "folder").mkdir()
    (fs.backing / "link").symlink_to("nowhere")

    with os.scandir(fs.mount) as entries:
        found = {e.name: (e.inode(), e.is_dir(follow_symlinks=False), e.is_symlink()) for e in entries}
    with os.scandir(fs.backing) as entries:
        there = {e.name: (e.inode(), e.is_dir(follow_symlinks=False), e.is_symlink()) for e in entries}
    assert found == there
    assert len(found) == 3


def test_names_are_made_linked_renamed_and_removed(fs, file):
    part, final = fs.mount / "run.bin.part", fs.mount / "run.bin"
    os.pwrite(file, b"abc", 0)
    with pytest.raises(FileExistsError):
        os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.link(part, final)
    assert final.stat().st_ino == part.stat().st_ino == (fs.backing / "run.bin").stat().st_ino
    part.unlink()
    os.pwrite(file, b"d", 3)
    directory = os.open(fs.mount, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)

    assert os.listdir(fs.backing) == ["run.bin"]
    assert final.read_bytes() == b"abcd"


def test_flags_of_rename_are_carried_through(fs):
    (fs.mount / "a").write_bytes(b"a")
    (fs.mount / "b").write_bytes(b"b")
    libc = ctypes.CDLL(None, use_errno=True)
    noreplace, exchange = 1, 2

    def rename(old, new, flags):
        return (
            libc.renameat2(-100, bytes(fs.mount / old), -100, bytes(fs.mount / new), flags)
            and ctypes.get_errno()
        )

    assert rename("a", "b", noreplace) == errno.EEXIST
    assert rename("a", "b", exchange) == 0
    assert (fs.backing / "a").read_bytes() == b"b"
    assert rename("a", "c", noreplace) == 0
    assert sorted(os.listdir(fs.backing)) == ["b", "c"]


def test_stall_seen_from_outside_is_the_one_logged(fs, file):
    errors = []
    for n in range(3):
        fs.stall("write", seconds=0.4)
        start, took = timed(os.pwrite, file, b"x", n)
        logged = fs.log("stall")[n]
        length = logged.end_ns - logged.start_ns
        assert start <= logged.start_ns <= logged.end_ns <= start + took
        assert length >= 0.4e9
        errors.append(max(took / length, length / 0.4e9) - 1)

    assert median(errors) < 0.05


def test_stall_at_an_absolute_time_ends_on_time(fs, file):
    begin = time.monotonic_ns() + 200_000_000
    fs.stall("write", seconds=0.5, start_ns=begin)
    calls = []
    while not calls or calls[-1][0] < begin + 600_000_000:
        calls.append(timed(os.pwrite, file, b"x", 0))
    start, took = max(calls, key=lambda call: call[1])

    (logged,) = fs.log("stall")
    assert logged.start_ns >= begin
    assert logged.end_ns >= begin + 500_000_000
    assert start <= logged.start_ns
    assert logged.end_ns <= start + took
    assert abs(took - (logged.end_ns - logged.start_ns)) < 0.05 * took


def test_stall_strikes_the_write_that_holds_the_offset(fs, file):
    for at_offset in (0, MIB, 2 * MIB - 1):
        fs.stall("write", seconds=0.02, at_offset=at_offset)
    for k in range(3):
        os.pwrite(file, bytes(MIB), k * MIB)

    assert [(entry.rule, entry.offset) for entry in fs.log("stall")] == [(1, 0), (2, MIB), (3, MIB)]


def test_stalled_write_holds_nobody_else_unless_told_to(fs, file):
    other = fs.mount / "other"
    rule = fs.stall("write", path="run.*")
    writer = InThread(os.pwrite, file, b"x", 0)
    fs.wait_fired(rule)
    other.write_bytes(b"goes on")
    assert other.stat().st_size == 7
    assert [entry.op for entry in fs.active()] == ["write"]
    fs.clear(rule)
    writer.join()

    fs.stall("write", also="stat", seconds=0.3)
    writer = InThread(os.pwrite, file, b"x", 0)
    wait_until(fs.active, 5, "the write is held")
    other.stat()
    writer.join()
    assert {entry.op for entry in fs.log("stall")} == {"write", "getattr"}


@pytest.mark.parametrize("code", [errno.EIO, errno.EDQUOT, errno.ESTALE, errno.EACCES, errno.EROFS])
def test_error_strikes_the_nth_fsync(fs, file, code):
    fs.error("fsync", code, after=2, count=2)

    assert [error_of(os.fsync, file) for _ in range(5)] == [0, 0, code, code, 0]
    assert [(entry.op, entry.path, entry.errno) for entry in fs.log()] == [
        ("fsync", "run.bin.part", code)
    ] * 2


def test_error_strikes_every_operation_by_name(fs):
    def close(path):
        os.close(os.open(path, os.O_RDWR))

    def fsyncdir(path):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def touch(path):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))

    touch(fs.mount / "f")
    calls = {
        "open": (os.open, fs.mount / "f", os.O_RDONLY),
        "create": (touch, fs.mount / "g"),
        "close": (close, fs.mount / "f"),
        "stat": (os.stat, fs.mount / "f"),
        "rename": (os.rename, fs.mount / "f", fs.mount / "h"),
        "link": (os.link, fs.mount / "f", fs.mount / "h"),
        "mkdir": (os.mkdir, fs.mount / "d"),
        "unlink": (os.unlink, fs.mount / "f"),
        "statfs": (os.statvfs, fs.mount),
        "fsyncdir": (fsyncdir, fs.mount),
        "readdir": (os.listdir, fs.mount),
    }
    seen = {}
    for op, (call, *args) in calls.items():
        rule = fs.error(op, errno.EIO, count=None)  # the kernel asks again after a failed lookup
        seen[op] = error_of(call, *args)
        fs.clear(rule)

    assert seen == dict.fromkeys(calls, errno.EIO)
    assert os.listdir(fs.backing) == ["f"]


def test_error_of_a_failed_fsync_can_lose_the_data(fs, file):
    os.pwrite(file, b"kept", 0)
    os.fsync(file)
    os.pwrite(file, b"lost", 4)
    fs.error("fsync", errno.EIO, lose=True)

    assert error_of(os.fsync, file) == errno.EIO
    assert error_of(os.fsync, file) == 0
    assert (fs.backing / "run.bin.part").read_bytes() == b"kept" + bytes(4)


def test_error_can_come_after_the_deed(fs):
    (fs.mount / "a").touch()
    fs.error("rename", errno.EIO, carry_out=True)

    assert error_of(os.rename, fs.mount / "a", fs.mount / "b") == errno.EIO
    assert os.listdir(fs.backing) == ["b"]


def test_fault_strikes_only_the_paths_of_its_glob(fs, file):
    other = os.open(fs.mount / "run.sigmf-meta", os.O_RDWR | os.O_CREAT)
    fs.error("write", errno.EIO, path="*.part", count=None)

    assert error_of(os.pwrite, other, b"x", 0) == 0
    assert error_of(os.pwrite, file, b"x", 0) == errno.EIO
    os.close(other)


def test_throttle_keeps_its_rate(fs, file):
    for rate in (4 * MIB, 16 * MIB):
        rule = fs.throttle(rate)
        size = rate // 8
        took = [timed(os.pwrite, file, bytes(size), 0)[1] for _ in range(5)]
        fs.clear(rule)
        assert size / (median(took) / 1e9) == pytest.approx(rate, rel=0.2)


def test_short_writes_take_what_they_say(fs, file):
    fs.short_writes(13, count=2)

    assert [os.pwrite(file, bytes(100), 0) for _ in range(3)] == [13, 13, 100]


def test_full_disk_takes_what_fits_then_refuses(fs, file):
    rule = fs.full(MIB + 100)

    assert os.statvfs(fs.mount).f_bavail * os.statvfs(fs.mount).f_frsize == MIB
    assert os.pwrite(file, bytes(2 * MIB), 0) == MIB + 100
    assert error_of(os.pwrite, file, b"x", MIB + 100) == errno.ENOSPC
    assert os.pwrite(file, b"over old bytes", 0) == 14
    fs.clear(rule)
    assert os.pwrite(file, b"x", MIB + 100) == 1


@pytest.mark.parametrize("killable", [True, False])
def test_caller_killed_in_a_stall(fs, killable):
    rule = fs.stall("write", killable=killable)
    write = "import sys; open(sys.argv[1], 'wb', 0).write(b'x')"
    caller = subprocess.Popen([sys.executable, "-c", write, fs.mount / "f"])
    fs.wait_fired(rule)
    caller.kill()
    if killable:
        assert caller.wait(5) == -signal.SIGKILL
        assert fs.log("stall")[0].errno == errno.EINTR
        return
    state = Path(f"/proc/{caller.pid}/stat")
    wait_until(lambda: state.read_text().split()[2] == "D", 5, "the caller sleeps uninterruptibly")
    assert caller.poll() is None
    fs.clear()
    caller.wait(5)


def test_unknown_operation_is_refused_by_name(fs):
    with pytest.raises(ValueError, match="operation 'wirte' is not known"):
        fs.stall("wirte")
    with pytest.raises(ValueError, match="operation 'wirte' is not known"):
        Rule(kind="error", ops=("open", "wirte"))
