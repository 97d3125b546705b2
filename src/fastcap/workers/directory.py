"""The directory that one recording is written to, and its names: opened once, and known by its file system.

Everything is relative to a descriptor: a mount that vanishes cannot turn into the local directory beneath it.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RENAME_NOREPLACE = 1


class SinkFailed(Exception):  # noqa: N818 - becomes fastcap.SinkError in the controller
    """A system call on the destination failed."""

    def __init__(self, doing: str, path: str, error: OSError | int) -> None:
        self.errno = error if isinstance(error, int) else error.errno or 0
        super().__init__(f"cannot {doing} {path}: {os.strerror(self.errno)}{_REMEDY.get(self.errno, '')}")


_REMEDY = {
    errno.ENOENT: "; create the directory, or name another with --to",
    errno.EACCES: "; give yourself write permission there",
    errno.ENOSPC: "; free space there: writing goes on by itself as long as the ring holds",
    errno.EDQUOT: "; free some of your quota: writing goes on by itself as long as the ring holds",
    errno.EEXIST: "; files are never overwritten: choose another name",
    errno.EROFS: "; mount it writable",
    errno.EINVAL: "; if the file system there does not take such a name, choose another",
    errno.EILSEQ: "; the file system there does not take such a name: choose another",
    errno.EFBIG: "; raise the limit on file sizes (prlimit --fsize), or use --split: writing goes on by itself",
    errno.ENODEV: "; another file system is there now: mount the one again that was",
}


def identity(status: os.stat_result) -> dict[str, Any]:
    """Return by what a file is known again: its file system, inode and size."""
    return {"device": status.st_dev, "inode": status.st_ino, "bytes": status.st_size}


class Directory:
    """A destination's directory.

    Parameters
    ----------
    path : str

    Attributes
    ----------
    fd : int
        -1 until it is opened.
    device : int
        The file system it is on.
    free_bytes : int
        When it was opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1
        self.device = 0
        self.free_bytes = 0

    def open(self, device: int | None = None) -> None:
        """Open it, or open it anew.

        Parameters
        ----------
        device : int, optional
            The file system that it must be on.

        Raises
        ------
        SinkFailed
            Also if the path leads to another file system by now. Call it again.
        """
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        try:
            self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fs = os.fstatvfs(self.fd)
            self.device = os.fstat(self.fd).st_dev
        except OSError as e:
            raise SinkFailed("use the destination", self.path, e) from e
        self.free_bytes = fs.f_bavail * fs.f_frsize
        if device is not None and self.device != device:
            raise SinkFailed("go on in", self.path, errno.ENODEV)

    def is_elsewhere(self) -> bool:
        """Tell whether the path leads to another file system by now."""
        try:
            return os.stat(self.path).st_dev != self.device
        except OSError:
            return False  # unreachable is not elsewhere; writing tells what is wrong

    def exists(self, name: str) -> bool:
        """Tell whether there is something of this name."""
        try:
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as e:
            raise SinkFailed("look at", os.path.join(self.path, name), e) from e
        return True

    def names(self) -> set[str]:
        """Return the names of all that is there."""
        try:
            return set(os.listdir(self.fd))
        except OSError as e:
            raise SinkFailed("look into", self.path, e) from e

    def read(self, name: str) -> bytes | None:
        """Return a regular file's content; None: there is none of this name, or it cannot be read."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError:
            return None
        with os.fdopen(fd, "rb") as file:
            try:
                return file.read() if stat.S_ISREG(os.fstat(fd).st_mode) else None
            except OSError:
                return None

    def replace(self, name: str, content: bytes, *, new: bool = False) -> None:
        """Give a small file its content, durably; with ``new`` nothing of this name may be there.

        Raises
        ------
        SinkFailed
            Whatever was there is unchanged.
        """
        temporary = name + ".part"
        try:
            fd = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644, dir_fd=self.fd
            )
            with os.fdopen(fd, "wb") as f:
                f.write(content)
                f.flush()
                os.fsync(fd)
            if new:
                self.rename_noreplace(temporary, name)
            else:
                os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError as e:
            if new and e.errno == errno.EEXIST:
                self.remove(temporary)
            raise SinkFailed("write the sidecar", os.path.join(self.path, name), e) from e

    def remove(self, name: str) -> None:
        """Remove a file of our own, if it is there."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return
        except OSError as e:
            raise SinkFailed("remove", os.path.join(self.path, name), e) from e

    def rename_noreplace(self, old: str, new: str) -> None:
        """Rename without ever replacing: renameat2, or where a file system has it not, link and unlink."""
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(self.fd, os.fsencode(old), self.fd, os.fsencode(new), _RENAME_NOREPLACE) == 0:
            return
        error = ctypes.get_errno()
        if error not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise OSError(error, os.strerror(error))
        try:
            os.link(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)
        except OSError as e:
            if e.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            if self.exists(new):
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST)) from e
            os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            return
        os.unlink(old, dir_fd=self.fd)
