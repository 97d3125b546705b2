import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import InThread, error_of, median, need, requires_root, timed, wait_until

from tools.lifetime import leftovers

MIB = 1 << 20
pytestmark = requires_root


@pytest.fixture
def disk(loopdisk):
    return loopdisk("32MiB")


@pytest.fixture
def path(disk):
    return disk.mount / "run.bin"


@pytest.fixture
def file(path):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    yield fd
    os.close(fd)


def fill(fd):
    """Write until the disk is full; return how much went in, and the error."""
    offset = 0
    try:
        while True:
            offset += os.pwrite(fd, bytes(MIB), offset)
    except OSError as e:
        return offset, e.errno


def test_full_disk_refuses_and_takes_again_when_there_is_room(disk, file):
    ballast = disk.mount / "ballast"
    ballast.write_bytes(bytes(4 * MIB))
    written, error = fill(file)

    assert error == errno.ENOSPC
    assert 16 * MIB < written < 32 * MIB
    ballast.unlink()
    os.sync()
    assert os.pwrite(file, bytes(MIB), written) == MIB


def test_frozen_disk_holds_a_write_uninterruptibly_until_thawed(disk, file):
    disk.freeze()
    writer = InThread(os.pwrite, file, b"x", 0)
    wait_until(lambda: writer.state == "D", 5, "the write sleeps uninterruptibly")
    assert os.fstat(file).st_size == 0
    disk.thaw()

    assert writer.join() == 1


def test_power_cut_keeps_what_was_synced_and_no_more(disk, path):
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"kept", 0)
    os.fsync(fd)
    os.pwrite(fd, b"lost", 4)
    (disk.mount / "unsynced").touch()
    disk.power_cut()
    assert error_of(os.pwrite, fd, b"x", 0) == errno.EIO
    with pytest.raises(OSError, match="close its files"):
        disk.remount()
    os.close(fd)
    disk.remount()

    assert path.read_bytes() == b"kept"
    assert not (disk.mount / "unsynced").exists()


def test_read_only_strikes_open_files(disk, path):
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    disk.read_only()
    assert error_of(os.pwrite, fd, b"x", 0) == errno.EROFS
    os.close(fd)
    disk.remount()
    path.write_bytes(b"x")


def test_limit_keeps_its_rate(disk, file):
    need("blkio")

    def write_and_sync(size):
        os.pwrite(file, bytes(size), 0)
        os.fsync(file)

    write_and_sync(4 * MIB)
    rate = 8 * MIB
    disk.limit(rate)
    took = [timed(write_and_sync, rate // 2)[1] for _ in range(3)]
    assert rate / 2 / (median(took) / 1e9) == pytest.approx(rate, rel=0.2)
    disk.limit(None)


def test_thin_disk_takes_writes_and_fails_the_fsync_once(loopdisk):
    disk = loopdisk("32MiB", thin=True)
    path = disk.mount / "run.bin"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    disk.exhaust()
    assert os.pwrite(fd, b"x" * 4 * MIB, 0) == 4 * MIB
    assert error_of(os.fsync, fd) == errno.ENOSPC
    disk.relieve()
    os.fsync(fd)
    os.close(fd)
    disk.remount()

    assert path.read_bytes() != b"x" * 4 * MIB


def test_nothing_is_left_when_the_owner_is_killed_on_a_frozen_disk(tmp_path):
    need("loop")
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from tools.loopdisk import loopdisk
disk = loopdisk(sys.argv[1])
fd = os.open(disk.mount / "f", os.O_RDWR | os.O_CREAT)
disk.freeze()
print("frozen", flush=True)
os.pwrite(fd, b"x", 0)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout.readline() == "frozen\n"
        owner.kill()
        wait_until(lambda: not leftovers(owner.pid), 10, lambda: str(leftovers(owner.pid)))
