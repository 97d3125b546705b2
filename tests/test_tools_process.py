import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import error_of, is_running, requires_fuse, wait_until

from tools.lifetime import leftovers
from tools.undo import mounts, unmount

TOOLS = Path(__file__).parents[1] / "tools"
pytestmark = requires_fuse


@pytest.fixture
def fs(faultfs):
    return faultfs()


def test_killed_server_is_enotconn_then_unmounted_is_local(fs):
    (fs.mount / "f").touch()
    fs.kill_server()
    assert error_of(os.stat, fs.mount / "f") == errno.ENOTCONN
    fs.vanish()
    assert os.listdir(fs.mount) == []


def test_log_is_read_after_the_end(faultfs):
    with faultfs() as fs:
        fs.error("mkdir", errno.EIO)
        error_of(os.mkdir, fs.mount / "d")

    assert [entry.op for entry in fs.log()] == ["mkdir"]
    assert not fs.log_path.exists()


def test_nothing_is_left_when_the_owner_is_killed_in_a_stall(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "m").mkdir()
    script = f"""
import sys, threading
sys.path.insert(0, {str(TOOLS.parent)!r})
from tools.faultfs import faultfs
fs = faultfs(sys.argv[1], sys.argv[2])
rule = fs.stall("write")
threading.Thread(target=(fs.mount / "f").write_bytes, args=(b"x",)).start()
fs.wait_fired(rule)
print(fs.pid, flush=True)
threading.Event().wait()
"""
    argv = [sys.executable, "-c", script, tmp_path / "b", tmp_path / "m"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as owner:
        server = int(owner.stdout.readline())
        assert leftovers(owner.pid)
        owner.kill()
        wait_until(lambda: not leftovers(owner.pid), 10, lambda: str(leftovers(owner.pid)))
        wait_until(lambda: not is_running(server), 10, "the server has ended")


def test_by_hand_it_takes_rules_and_orders(tmp_path, monkeypatch):
    backing, mount, control, log = (tmp_path / name for name in ("backing", "mnt", "control", "log"))
    backing.mkdir()
    mount.mkdir()
    rule = json.dumps({"kind": "error", "ops": ["mkdir"], "errno": errno.EDQUOT})
    argv = [TOOLS / "faultfs.py", backing, mount, "--control", control, "--log", log, "--fault", rule]
    with subprocess.Popen([sys.executable, *argv]) as server:
        try:
            wait_until(lambda: any(point == str(mount) for point, _ in mounts()), 20, "it is mounted")
            assert error_of(os.mkdir, mount / "d") == errno.EDQUOT
            with socket.socket(socket.AF_UNIX) as s, s.makefile("r") as answers:
                monkeypatch.chdir(tmp_path)  # a socket's path may have 107 bytes
                s.connect("control")
                s.sendall(b'{"do": "active"}\n{"do": "dance"}\n')
                assert json.loads(answers.readline()) == {"ok": []}
                assert "not known" in json.loads(answers.readline())["error"]
            assert json.loads(log.read_text())["errno"] == errno.EDQUOT
        finally:
            unmount(str(mount))
    assert server.returncode == 0
