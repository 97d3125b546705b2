import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import InThread, is_running, median, requires_netns, timed, wait_until

from tools.lifetime import leftovers

MIB = 1 << 20
pytestmark = requires_netns


@pytest.fixture
def disk(netdisk):
    return netdisk()


@pytest.fixture
def file(disk):
    fd = os.open(disk.mount / "run.bin", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    yield fd
    os.close(fd)


def write_and_sync(fd, data):
    offset = 0
    while offset < len(data):
        offset += os.pwrite(fd, data[offset : offset + MIB], offset)
    os.fsync(fd)


def held_while(cut, mend, disk, file, data):
    """Write while something is cut; tell whether the bytes were held until it was mended."""
    arrived = disk.backing / "run.bin"
    cut()
    try:
        writer = InThread(write_and_sync, file, data)
        with pytest.raises(AssertionError, match="has not returned"):
            writer.join(0.5)
        size = arrived.stat().st_size
    finally:
        mend()
    writer.join()
    return size < len(data) and arrived.read_bytes() == data


def test_fsync_waits_for_a_stopped_server(disk, file):
    assert held_while(disk.stop_server, disk.cont_server, disk, file, os.urandom(16 * MIB))


def test_fsync_waits_for_a_pulled_cable(disk, file):
    assert held_while(disk.link_down, disk.link_up, disk, file, os.urandom(16 * MIB))


def test_limit_keeps_its_rate(disk, file):
    for rate in (4 * MIB, 12 * MIB):
        disk.limit(rate)
        data = bytes(rate // 2)
        took = [timed(write_and_sync, file, data)[1] for _ in range(3)]
        assert len(data) / (median(took) / 1e9) == pytest.approx(rate, rel=0.2)
    disk.limit(None)
    write_and_sync(file, bytes(16 * MIB))


def test_killed_server_leaves_the_local_directory(disk):
    (disk.mount / "f").touch()
    disk.kill_server()
    wait_until(lambda: str(disk.mount) not in Path("/proc/mounts").read_text(), 5, "sshfs has given up")

    assert os.listdir(disk.mount) == []


def test_vanished_mount_is_the_local_directory(disk, file):
    disk.vanish()

    assert os.listdir(disk.mount) == []
    assert os.pwrite(file, b"x", 0) == 1


def test_names_are_made_linked_and_renamed(disk, file):
    os.pwrite(file, b"abc", 0)
    os.fsync(file)
    with pytest.raises(FileExistsError):
        os.open(disk.mount / "run.bin", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.rename(disk.mount / "run.bin", disk.mount / "a.bin")
    os.link(disk.mount / "a.bin", disk.mount / "b.bin")

    assert sorted(os.listdir(disk.backing)) == ["a.bin", "b.bin"]
    assert (disk.backing / "b.bin").read_bytes() == b"abc"


def test_nothing_is_left_when_the_owner_is_killed_at_a_stopped_server(tmp_path):
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from tools.netdisk import netdisk
disk = netdisk(sys.argv[1])
fd = os.open(disk.mount / "f", os.O_RDWR | os.O_CREAT)
disk.stop_server()
print(*disk.server_pids(), flush=True)
os.pwrite(fd, b"x", 0)
os.fsync(fd)
"""
    argv = [sys.executable, "-c", script, tmp_path]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as owner:
        server = int(owner.stdout.readline())
        owner.kill()
        wait_until(lambda: not leftovers(owner.pid), 10, lambda: str(leftovers(owner.pid)))
        wait_until(lambda: not is_running(server), 10, "the stopped server has ended")
