"""A real network disk on one machine: sshfs in one network namespace, its server in another, a cable between.

No ssh is involved: sshfs speaks SFTP over plain TCP to an sftp-server that a small acceptor starts per
connection. The server can be stopped, the cable pulled, its rate limited::

    with netdisk(tmp_path) as disk:
        disk.stop_server()
        disk.cont_server()

What its calls mean: a write returns once it is queued for the server (socket buffers and the server's
pipe hold a few MB, then writes block); fsync returns when the server has answered every write and has
itself called fsync(2). Names are not cached. rename is posix-rename; RENAME_NOREPLACE is EINVAL, link works.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.lifetime import Cleanup, unique_name
from tools.undo import end_process, namespace_pids, start_ticks, unmount

_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/lib/ssh/sftp-server", "/usr/libexec/openssh/sftp-server")
_SERVER_ADDRESS, _CLIENT_ADDRESS, _PORT = "10.77.0.1", "10.77.0.2", 2022
_READY_S = 10


def sftp_server() -> str | None:
    """Return where the sftp-server program is, None if it is not installed."""
    return next((path for path in _SERVERS if os.access(path, os.X_OK)), None)


class netdisk:  # noqa: N801 - reads like open()
    """A mounted network disk; as a context manager nothing of it is left at the end.

    Parameters
    ----------
    folder : path
        A directory in which ``server`` (`backing`, what the server holds) and ``mnt`` (`mount`) are made.
    connections : int
        TCP connections of the mount.
    sync_writes : bool
        Every write waits for the server's answer.
    """

    def __init__(self, folder: str | Path, *, connections: int = 1, sync_writes: bool = False) -> None:
        self.backing, self.mount = Path(folder).resolve() / "server", Path(folder).resolve() / "mnt"
        self.backing.mkdir()
        self.mount.mkdir()
        name = unique_name()
        self._server_ns, self._client_ns = name + "s", name + "c"
        self._cable = "eth0"
        self._cleanup = Cleanup()
        try:
            self._lay_cable()
            self._acceptor = self._start_server()
            self._cleanup.add("unmount", self.mount)
            self._options = (name, connections, sync_writes)
            self._mount(*self._options)
        except BaseException:
            self._cleanup.close()
            raise

    def _lay_cable(self) -> None:
        for namespace in (self._server_ns, self._client_ns):
            self._cleanup.add("netns", namespace)
            self._cleanup.run("ip", "netns", "add", namespace)
        peer = ("peer", "name", self._cable, "netns", self._client_ns)
        self._cleanup.run("ip", "link", "add", self._cable, "netns", self._server_ns, "type", "veth", *peer)
        for namespace, address in ((self._server_ns, _SERVER_ADDRESS), (self._client_ns, _CLIENT_ADDRESS)):
            self._cleanup.run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", self._cable)
            self._cleanup.run("ip", "-n", namespace, "link", "set", self._cable, "up")

    def _start_server(self) -> subprocess.Popen[str]:
        argv = ["nsenter", f"--net=/run/netns/{self._server_ns}", sys.executable, "-I", __file__]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert process.stdout is not None
        with process.stdout:
            ready = select.select([process.stdout], [], [], _READY_S)[0]
            if not ready or process.stdout.readline() != "ready\n":
                raise RuntimeError("the server of netdisk did not start; is openssh-sftp-server installed?")
        return process

    def _mount(self, name: str, connections: int, sync_writes: bool) -> None:
        options = [
            f"directport={_PORT}",
            "dir_cache=no",
            "attr_timeout=0",
            "entry_timeout=0",
            f"fsname={name}",
        ]
        options += [f"max_conns={connections}", *(["sshfs_sync"] if sync_writes else [])]
        enter = ("nsenter", f"--net=/run/netns/{self._client_ns}")
        self._cleanup.run(
            *enter, "sshfs", "-o", ",".join(options), f"{_SERVER_ADDRESS}:{self.backing}", self.mount
        )

    # -- the server ------------------------------------------------------------------------------------

    def server_pids(self) -> list[int]:
        """Return the sftp-servers, one per connection."""
        return [pid for pid in namespace_pids(self._server_ns) if _command(pid) == "sftp-server"]

    def _signal_server(self, number: signal.Signals) -> None:
        pids = self.server_pids()
        if not pids:
            raise RuntimeError(f"no sftp-server runs for {self.mount}; it was killed")
        for pid in pids:
            os.kill(pid, number)

    def stop_server(self) -> None:
        """SIGSTOP the server: the network is fine, nobody answers."""
        self._signal_server(signal.SIGSTOP)

    def cont_server(self) -> None:
        """SIGCONT the server."""
        self._signal_server(signal.SIGCONT)

    def kill_server(self) -> None:
        """SIGKILL the server: sshfs gives up at once and unmounts, the path is the local directory below."""
        for pid in self.server_pids():
            end_process(str(pid), str(start_ticks(pid)))

    def kill_client(self) -> None:
        """SIGKILL sshfs: calls fail with ENOTCONN until it is unmounted; what it had not sent is lost."""
        for pid in namespace_pids(self._client_ns):
            if _command(pid) == "sshfs":
                end_process(str(pid), str(start_ticks(pid)))

    def mount_anew(self) -> None:
        """Unmount, and mount again, as an automounter does: under another device number while old files are open."""
        unmount(str(self.mount))
        self._mount(*self._options)

    # -- the cable -------------------------------------------------------------------------------------

    def link_down(self) -> None:
        """Pull the cable at the server's end: packets vanish, connections stay."""
        self._cleanup.run("ip", "-n", self._server_ns, "link", "set", self._cable, "down")

    def link_up(self) -> None:
        """Plug it in again; TCP notices at its next retransmission, up to as long as the cut lasted."""
        self._cleanup.run("ip", "-n", self._server_ns, "link", "set", self._cable, "up")

    def limit(self, rate_bytes_per_s: int | None) -> None:
        """Limit what goes to the server (a token bucket on the cable); None: no limit."""
        on = ("dev", self._cable, "root")
        if rate_bytes_per_s is None:
            self._cleanup.run("tc", "-n", self._client_ns, "qdisc", "del", *on)
            return
        burst = max(16 << 10, rate_bytes_per_s // 100)
        bucket = ("tbf", "rate", f"{rate_bytes_per_s * 8}bit", "burst", str(burst), "latency", "100ms")
        self._cleanup.run("tc", "-n", self._client_ns, "qdisc", "replace", *on, *bucket)

    def vanish(self) -> None:
        """Unmount lazily: the path is the local directory below."""
        unmount(str(self.mount))

    def close(self) -> None:
        """Unmount, end every process, delete both namespaces. Calling again does nothing."""
        self._cleanup.close()
        self._acceptor.wait()

    def __enter__(self) -> netdisk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""


def _accept() -> None:
    """Start an sftp-server on every connection; runs in the server's namespace until it is killed."""
    server = sftp_server()
    if server is None:
        raise SystemExit(f"no sftp-server in {', '.join(_SERVERS)}; install openssh-sftp-server")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.create_server((_SERVER_ADDRESS, _PORT)) as listener:
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                subprocess.Popen([server], stdin=connection.fileno(), stdout=connection.fileno())


if __name__ == "__main__":
    _accept()
