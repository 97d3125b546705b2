"""A small ext4 on a loop device: a disk that is really full, really frozen, really loses power.

::

    with loopdisk(tmp_path, "32MiB") as disk:
        disk.freeze()
        disk.thaw()

What only a kernel file system shows: a write that sleeps uninterruptibly (`freeze`), ENOSPC with its
true accounting, a read-only remount under open files, and which bytes an fsync saved (`power_cut`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tools.lifetime import Cleanup, unique_name
from tools.undo import FITHAW, unmount

_FIFREEZE = 0xC0045877
_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = struct.pack("I", 2)
_WRITE_LIMITS = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")
_ATTACH_TRIES = 20


class loopdisk:  # noqa: N801 - reads like open()
    """A mounted file system of its own; as a context manager nothing of it is left at the end.

    Parameters
    ----------
    folder : path
        A directory in which the image and the mount point ``disk`` (`mount`) are made.
    size : str
        Of the image, as truncate(1) takes it: "32MiB". ext4 keeps some 20 % of a small one for itself.
    thin : bool
        Its free blocks have no memory of their own, which `exhaust` denies them: writes are taken, fsync fails.
    """

    def __init__(self, folder: str | Path, size: str = "32MiB", *, thin: bool = False) -> None:
        name = unique_name()
        folder = Path(folder).resolve()
        self.mount, self._pool = folder / "disk", folder / "pool"
        self.image = (self._pool if thin else folder) / f"{name}.img"
        self.mount.mkdir()
        self._cleanup = Cleanup()
        try:
            if thin:
                self._make_pool(name, size)
            self._cleanup.run("truncate", "-s", size, self.image)
            blocks = ("-b", str(os.sysconf("SC_PAGESIZE"))) if thin else ()  # each has a page, or has none
            self._cleanup.run("mkfs.ext4", "-q", "-F", "-m", "0", *blocks, self.image)
            self.device = self._attach()
            self._cleanup.add("loop", self.device, self.image)
            self._cleanup.add("unmount", self.mount)
            self._cleanup.add("thaw", self.mount)
            self._mount()
            if thin:
                self._give_up_free_blocks()
        except BaseException:
            self._cleanup.close()
            raise

    def _make_pool(self, name: str, size: str) -> None:
        self._pool.mkdir()
        self._cleanup.add("unmount", self._pool)
        size = size.removesuffix("iB")  # as tmpfs wants it
        self._cleanup.run("mount", "-t", "tmpfs", "-o", f"size={size}", name, self._pool)

    def _give_up_free_blocks(self) -> None:
        """Let the file system's own blocks have memory, and no others: not even its journal can fail then."""
        with self.image.open("r+b") as f:
            os.posix_fallocate(f.fileno(), 0, self.image.stat().st_size)
        self._cleanup.run("fstrim", self.mount)

    def _attach(self) -> str:
        """Attach the image to a free loop device; somebody else may take it between finding and taking."""
        for _ in range(_ATTACH_TRIES - 1):
            try:
                return self._cleanup.run("losetup", "--find", "--show", self.image).strip()
            except RuntimeError as e:
                if "busy" not in str(e):
                    raise
        return self._cleanup.run("losetup", "--find", "--show", self.image).strip()

    def _mount(self) -> None:
        self._cleanup.run("mount", "-t", "ext4", "-o", "errors=remount-ro", self.device, self.mount)

    @contextmanager
    def _root(self) -> Iterator[int]:
        fd = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)

    def freeze(self) -> None:
        """Freeze: writes and fsyncs sleep uninterruptibly until `thaw`; reads go on."""
        with self._root() as fd:
            fcntl.ioctl(fd, _FIFREEZE, 0)

    def thaw(self) -> None:
        """End `freeze`."""
        with self._root() as fd:
            fcntl.ioctl(fd, FITHAW, 0)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze for as long as the block lasts, however it ends."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def read_only(self) -> None:
        """Make it read-only as a disk error does, open files or not: EROFS until `remount`."""
        Path(f"/sys/fs/ext4/{Path(self.device).name}/trigger_fs_error").write_text("1")

    def power_cut(self) -> None:
        """Cut the power: what was not synced is lost, every call fails with EIO until `remount`."""
        with self._root() as fd:
            fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, _NO_LOG_FLUSH)

    def remount(self) -> None:
        """Unmount, unless it has vanished, and mount again, as after a reboot: the journal is replayed.

        Raises
        ------
        OSError
            EBUSY: a file of it is still open, and the file system would live on; close it first.
        """
        try:
            if self.mount.is_mount():
                self._cleanup.run("umount", self.mount)
        except RuntimeError as e:
            raise OSError(errno.EBUSY, f"{self.mount} is not unmounted, close its files: {e}") from e
        self._mount()

    def limit(self, rate_bytes_per_s: int | None) -> None:
        """Limit what is written to the device (a rule of the root block-I/O group); None: no limit.

        Raises
        ------
        OSError
            ENOENT: this machine has no version 1 blkio control group.
        """
        status = os.stat(self.device)
        number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        self._cleanup.add("unthrottle", number)
        _WRITE_LIMITS.write_text(f"{number} {rate_bytes_per_s or 0}")

    def exhaust(self) -> None:
        """Leave a thin disk no memory for new blocks, until `relieve`.

        Before anything is written to the file in question: a loop device takes a write of which only the first
        pages find room for a complete one.
        """
        fs = os.statvfs(self._pool)
        with (self._pool / "ballast").open("wb") as f:
            os.posix_fallocate(f.fileno(), 0, fs.f_bavail * fs.f_frsize)

    def relieve(self) -> None:
        """End `exhaust`."""
        (self._pool / "ballast").unlink()

    def vanish(self) -> None:
        """Unmount lazily: the path is the local directory below."""
        unmount(str(self.mount))

    def close(self) -> None:
        """Thaw, unmount, detach. Calling again does nothing."""
        self._cleanup.close()

    def __enter__(self) -> loopdisk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
