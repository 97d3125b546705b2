"""The directory that one recording is written to, and its names: opened once, and known by its file system.

Everything is relative to a descriptor: a mount that vanishes cannot turn into the local directory beneath it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from fastcap.wire import let_go

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_RENAME_NOREPLACE = 1
_END_BYTES = 4096


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


def identity(fd: int) -> dict[str, Any]:
    """Return by what an open file is known again: its file system, inode and size, and `ends_of` it."""
    status = os.fstat(fd)
    found = {"device": status.st_dev, "inode": status.st_ino, "bytes": status.st_size}
    return {**found, "ends": ends_of(fd, status.st_size)}


def ends_of(fd: int, size: int) -> str:
    """Return a digest of a file's first and last bytes, two reads at most: what tells one file from another."""
    from hashlib import sha256

    ends = os.pread(fd, _END_BYTES, 0) + os.pread(fd, _END_BYTES, max(_END_BYTES, size - _END_BYTES))
    return sha256(ends).hexdigest()


def is_same(a: os.stat_result, b: os.stat_result) -> bool:
    """Tell whether both are of one file."""
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)


def has_lasting_inodes(device: int) -> bool:
    """Tell whether a file keeps its inode number there: FUSE gives a file another with every new name it is seen by."""
    mine = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo") as mounts:
        kinds = [line.partition(" - ")[2] for line in mounts if line.split()[2] == mine]
    return not any(kind.startswith("fuse") for kind in kinds)


def write_all(fd: int, data: bytes, offset: int) -> None:
    """Write at a place, however short the writes are."""
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


def _path_to(mine: os.stat_result, candidates: tuple[str, ...]) -> str | None:
    """Return the first path that leads to it; links of /proc/self/fd are read. None: none does."""
    for candidate in candidates:
        try:
            path = os.readlink(candidate) if candidate.startswith("/proc/self/fd/") else candidate
            if is_same(os.stat(path), mine):
                return path
        except OSError as e:
            if e.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return candidate  # unreachable is not elsewhere; writing tells what is wrong
    return None


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
    wanted : str
        The path that was given; `path` follows the directory where that is moved.
    hidden, removed : bool
        See `find`.
    """

    def __init__(self, path: str) -> None:
        self.path = self.wanted = path
        self.hidden = self.removed = False
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
            let_go(self.fd)
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

    def open_known(self, path: str, inode: list[int]) -> bool:
        """Open it where a predecessor found it last, if it is still there; ``inode`` is [device, inode]."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        found = os.fstat(fd)
        if [found.st_dev, found.st_ino] != inode:
            let_go(fd)
            return False
        self._take(fd, path)
        return True

    def _take(self, fd: int, path: str) -> None:
        """Be another descriptor's directory; others know this one by its number."""
        if self.fd >= 0:
            os.dup2(fd, self.fd, inheritable=False)
            let_go(fd)
        else:
            self.fd = fd
        self.device, self.path = os.fstat(self.fd).st_dev, path

    def is_reachable(self) -> bool:
        """Tell whether its mount has not died."""
        try:
            os.fstat(self.fd)
        except OSError:
            return False
        return True

    def come_back(self, holds: Callable[[Directory], bool]) -> bool:
        """After its mount has died: go on in what is mounted there by now, under whatever device number.

        Parameters
        ----------
        holds : callable
            Tells whether a directory holds what was written to this one: the path may lead to any other.
        """
        there = Directory(self.path)
        try:
            there.open()
            if holds(there):
                self._take(there.fd, self.path)
                there.fd = -1
                return True
        except (OSError, SinkFailed):
            return False
        finally:
            if there.fd >= 0:
                let_go(there.fd)
        return False

    def find(self) -> None:
        """Look where it is by now.

        `path` follows one that was moved; where no path leads to it, it is ``hidden`` (unmounted, or something is
        mounted over it), or ``removed``.
        """
        try:
            mine = os.fstat(self.fd)
        except OSError as e:
            self.removed = e.errno in (errno.ENOENT, errno.ESTALE)
            return
        self.removed = not mine.st_nlink
        found = _path_to(mine, (self.wanted, f"/proc/self/fd/{self.fd}"))
        self.hidden = found is None and not self.removed
        self.path = found or self.path

    def make_again(self) -> None:
        """Make the directory again that was removed, on no other file system than it was on.

        Raises
        ------
        SinkFailed
            Call it again.
        """
        there = self.wanted
        while not os.path.lexists(there):
            there = os.path.dirname(there)
        try:
            if os.stat(there).st_dev != self.device:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            os.makedirs(self.wanted, exist_ok=True)
            self._take(os.open(self.wanted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), self.wanted)
        except OSError as e:
            raise SinkFailed("make the directory again", self.wanted, e) from e
        self.find()

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

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """Have a file of it open to look at; no link is followed, and no FIFO waited for."""
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            yield fd
        finally:
            let_go(fd)

    def is_missing(self, file: dict[str, Any]) -> str | None:
        """Return why a file (``name`` and `identity`) is not there any more as it was, None: it is.

        Its inode tells, where that lasts; elsewhere, as on a mount that came back, its ends do.

        Raises
        ------
        SinkFailed
            Nobody can tell: call it again.
        """
        path = os.path.join(self.path, file["name"])
        other = f"{path} is not the file any more that was written"
        try:
            found = os.stat(file["name"], dir_fd=self.fd, follow_symlinks=False)
            if found.st_size != file["bytes"] or not stat.S_ISREG(found.st_mode):
                return other
            if found.st_dev == file["device"] and has_lasting_inodes(found.st_dev):
                return None if found.st_ino == file["inode"] else other
            with self.opened(file["name"]) as fd:
                return None if ends_of(fd, file["bytes"]) == file["ends"] else other
        except FileNotFoundError:
            return f"somebody removed or moved {path} after it was complete"
        except OSError as e:
            raise SinkFailed("look at", path, e) from e

    def read(self, name: str) -> bytes | None:
        """Return a regular file's content; None: there is none of this name, or it cannot be read."""
        try:
            with self.opened(name) as fd, os.fdopen(fd, "rb", closefd=False) as file:
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

    def drop_index(self, name: str) -> None:
        """Remove the piece of a file's index that a dead writer left: nobody goes on with it."""
        from fastcap._indexfile import index_path

        with contextlib.suppress(SinkFailed):
            self.remove(index_path(name) + ".part")

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
