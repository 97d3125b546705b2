# ruff: noqa: D102 - the operations are FUSE's
"""A directory shown again through FUSE, every call of it passing through the rules of `faultrules`.

Files are reached by descriptor, data goes from the FUSE buffer straight to pread and pwrite, and each
request has a thread of its own, so that one that is held does not hold the others.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable
from typing import Any, TypeVar

os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")
import mfusepy

from tools.faultrules import Call, Rulebook
from tools.undo import is_dying

T = TypeVar("T")
_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_ZEROS = bytes(1 << 20)
_MAX_THREADS = 64
_DROPPED_FLAGS = os.O_APPEND | os.O_DIRECT  # offsets are the kernel's business, alignment the caller's


def mount(backing: str, point: str, book: Rulebook, *, name: str, direct_io: bool) -> None:
    """Serve ``backing`` at ``point`` until it is unmounted.

    Parameters
    ----------
    name : str
        What the mount table shows as its source.
    direct_io : bool
        Every read reaches the rules; without, the kernel's page cache answers what it holds.
    """
    as_root = {} if os.geteuid() else {"allow_other": True, "default_permissions": True}
    _Fuse(
        Passthrough(backing, book),
        point,
        foreground=True,
        fsname=name,
        subtype="faultfs",
        max_threads=_MAX_THREADS,
        attr_timeout=0,
        entry_timeout=0,
        negative_timeout=0,
        use_ino=True,
        hard_remove=True,
        direct_io=direct_io,
        **as_root,
    )


class _Fuse(mfusepy.FUSE):  # type: ignore[misc]
    """The binding, less a copy of all data, plus the flags of rename that it drops."""

    def read(self, path: bytes, buf: Any, size: int, offset: int, fip: Any) -> int:
        view = (ctypes.c_char * size).from_address(ctypes.addressof(buf.contents))
        return int(self.operations.read(_text(path), view, offset, fip.contents.fh))

    def write(self, path: bytes, buf: Any, size: int, offset: int, fip: Any) -> int:
        view = (ctypes.c_char * size).from_address(ctypes.addressof(buf.contents))
        return int(self.operations.write(_text(path), view, offset, fip.contents.fh))

    def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
        self.operations.rename(_text(old), _text(new), flags)
        return 0


def _text(path: bytes | None) -> str | None:
    """Return a path of FUSE as text; an unlinked open file has none."""
    return None if path is None else os.fsdecode(path)


def _caller_was_killed() -> bool:
    """Tell whether the thread whose request this is was sent SIGKILL."""
    return bool(mfusepy._libfuse.fuse_interrupted()) and is_dying(mfusepy.fuse_get_context()[2])


class Passthrough:
    """The operations, carried out on the backing directory."""

    use_ns = True

    def __init__(self, backing: str, book: Rulebook) -> None:
        self._backing = os.path.abspath(backing)
        self._book = book
        self._unsynced: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def _real(self, path: str) -> str:
        return self._backing + path

    def _begin(self, op: str, *paths: str | None, offset: int = 0, size: int = 0, growth: int = 0) -> Call:
        names = [(p or "").removeprefix("/") for p in paths]  # an unlinked open file has no path
        return self._book.begin(
            op, *names, offset=offset, size=size, growth=growth, killed=_caller_was_killed
        )

    def _end(self, call: Call, done: int = 0) -> None:
        rule = self._book.end(call, done)
        if rule is not None:
            raise OSError(rule.errno, os.strerror(rule.errno))

    def _pass(self, op: str, *paths: str | None, act: Callable[[], T]) -> T:
        """Carry out an operation that has no byte range."""
        call = self._begin(op, *paths)
        result = act()
        self._end(call)
        return result

    # -- open files ------------------------------------------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        return self._pass("open", path, act=lambda: os.open(self._real(path), flags & ~_DROPPED_FLAGS))

    def create(self, path: str, mode: int, flags: int) -> int:
        call = self._begin("create", path)
        fd = os.open(self._real(path), (flags & ~_DROPPED_FLAGS) | os.O_CREAT, mode)
        try:
            self._own(fd)
            self._end(call)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _own(self, target: int | str) -> None:
        """Give a new file or directory to the caller: this process may be root."""
        uid, gid, _ = mfusepy.fuse_get_context()
        if uid != os.geteuid():
            os.chown(target, uid, gid)

    def read(self, path: str | None, buffer: Any, offset: int, fh: int) -> int:
        call = self._begin("read", path, offset=offset, size=len(buffer))
        done = os.preadv(fh, [memoryview(buffer)[: call.size]], offset)
        self._end(call, done)
        return done

    def write(self, path: str | None, buffer: Any, offset: int, fh: int) -> int:
        growth = max(0, offset + len(buffer) - max(offset, os.fstat(fh).st_size))
        call = self._begin("write", path, offset=offset, size=len(buffer), growth=growth)
        done = os.pwrite(fh, memoryview(buffer)[: call.size], offset)
        self._remember(fh, offset, done)
        self._end(call, done)
        return done

    def _remember(self, fh: int, offset: int, size: int) -> None:
        status = os.fstat(fh)
        ranges = self._unsynced.setdefault((status.st_dev, status.st_ino), [])
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + size)
        else:
            ranges.append((offset, offset + size))

    def _forget(self, fh: int, *, lose: bool) -> None:
        """End the span between two fsyncs, with what was written in it, or without."""
        status = os.fstat(fh)
        for begin, end in self._unsynced.pop((status.st_dev, status.st_ino), []):
            while lose and begin < end:
                begin += os.pwrite(fh, _ZEROS[: end - begin], begin)

    def fsync(self, path: str | None, datasync: int, fh: int) -> None:
        call = self._begin("fsync", path)
        rule = call.carried_out and call.carried_out[1]
        self._forget(fh, lose=bool(rule and rule.lose))
        (os.fdatasync if datasync else os.fsync)(fh)
        self._end(call)

    def flush(self, path: str | None, fh: int) -> None:
        self._pass("flush", path, act=lambda: os.close(os.dup(fh)))

    def release(self, path: str | None, fh: int) -> None:
        try:
            self._pass("release", path, act=lambda: None)
        finally:
            os.close(fh)

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> None:
        target = self._real(path or "") if fh is None else fh
        self._pass("truncate", path, act=lambda: os.truncate(target, length))

    def fallocate(self, path: str | None, mode: int, offset: int, size: int, fh: int) -> None:
        def act() -> None:
            if _LIBC.fallocate(fh, mode, ctypes.c_long(offset), ctypes.c_long(size)):
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error))

        self._pass("fallocate", path, act=act)

    # -- names -----------------------------------------------------------------------------------------

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, int]:
        def act() -> os.stat_result:
            return os.lstat(self._real(path)) if path else os.fstat(fh or 0)

        status = self._pass("getattr", path, act=act)
        names = (
            "st_mode",
            "st_ino",
            "st_nlink",
            "st_uid",
            "st_gid",
            "st_rdev",
            "st_size",
            "st_blocks",
            "st_blksize",
        )
        attributes = {name: getattr(status, name) for name in names}
        return attributes | {t: getattr(status, t + "_ns") for t in ("st_atime", "st_mtime", "st_ctime")}

    def rename(self, old: str, new: str, flags: int) -> None:
        def act() -> None:
            a, b = os.fsencode(self._real(old)), os.fsencode(self._real(new))
            if _LIBC.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, flags):
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error))

        self._pass("rename", old, new, act=act)

    def link(self, target: str, source: str) -> None:
        def act() -> None:
            os.link(self._real(source), self._real(target), follow_symlinks=False)

        self._pass("link", target, source, act=act)

    def symlink(self, target: str, source: str) -> None:
        self._pass("symlink", target, act=lambda: os.symlink(source, self._real(target)))

    def readlink(self, path: str) -> str:
        return self._pass("readlink", path, act=lambda: os.readlink(self._real(path)))

    def unlink(self, path: str) -> None:
        self._pass("unlink", path, act=lambda: os.unlink(self._real(path)))

    def mkdir(self, path: str, mode: int) -> None:
        def act() -> None:
            os.mkdir(self._real(path), mode)
            self._own(self._real(path))

        self._pass("mkdir", path, act=act)

    def rmdir(self, path: str) -> None:
        self._pass("rmdir", path, act=lambda: os.rmdir(self._real(path)))

    def chmod(self, path: str, mode: int) -> None:
        self._pass("chmod", path, act=lambda: os.chmod(self._real(path), mode))

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._pass("chown", path, act=lambda: os.chown(self._real(path), uid, gid, follow_symlinks=False))

    def utimens(self, path: str, times: tuple[int, int]) -> None:
        self._pass("utimens", path, act=lambda: os.utime(self._real(path), ns=times, follow_symlinks=False))

    def statfs(self, path: str) -> dict[str, int]:
        status = self._pass("statfs", path, act=lambda: os.statvfs(self._real(path)))
        numbers = {name: int(getattr(status, name)) for name in dir(status) if name.startswith("f_")}
        room = self._book.room()
        if room is not None:
            numbers["f_bfree"] = numbers["f_bavail"] = min(numbers["f_bavail"], room // status.f_frsize)
        return numbers

    # -- directories -----------------------------------------------------------------------------------

    def opendir(self, path: str) -> int:
        return self._pass(
            "opendir", path, act=lambda: os.open(self._real(path), os.O_RDONLY | os.O_DIRECTORY)
        )

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        """List with inode numbers: a C library passes over entries that have none."""

        def act() -> list[tuple[str, dict[str, int], int]]:
            here = os.stat(self._real(path))
            found = [(name, {"st_ino": here.st_ino, "st_mode": here.st_mode}, 0) for name in (".", "..")]
            with os.scandir(self._real(path)) as entries:
                for entry in entries:
                    mode = stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else stat.S_IFREG
                    mode = stat.S_IFLNK if entry.is_symlink() else mode
                    found.append((entry.name, {"st_ino": entry.inode(), "st_mode": mode}, 0))
            return found

        return self._pass("readdir", path, act=act)

    def releasedir(self, path: str, fh: int) -> None:
        os.close(fh)

    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        self._pass("fsyncdir", path, act=lambda: os.fsync(fh))
