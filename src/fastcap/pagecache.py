"""Throw a file's pages out of memory and look whether they are gone: only then reading it proves the disk."""

from __future__ import annotations

import ctypes
import os

import msgspec

_WINDOW_BYTES = 1 << 30
_PROT_READ = 1
_MAP_SHARED = 1
_MAP_FAILED = ctypes.c_void_p(-1).value


class Eviction(msgspec.Struct, frozen=True):
    """What became of a file's pages: ``evicted`` if none is in memory any more, else ``note`` says why."""

    evicted: bool
    note: str


def evict(fd: int) -> Eviction:
    """Write back and drop the cached pages of an open file, then look whether any is left.

    Blocks as long as ``fsync`` does. Other programs' use of the file is not disturbed. Pages in the memory of
    the server of a network disk are beyond anybody's reach from here.
    """
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        size = os.fstat(fd).st_size
        left = _resident_pages(fd, size, page_bytes)
    except OSError as error:
        return Eviction(False, f"cached pages could not be evicted: {error.strerror}")
    if left:
        total = -(-size // page_bytes)
        if left == total and not _may_be_told(fd):
            return Eviction(
                False, "of another user's file the kernel does not tell whether pages are in memory"
            )
        why = "the file system keeps them, as tmpfs does, or a program has the file mapped"
        return Eviction(False, f"{left} of {total} pages are still in memory: {why}")
    return Eviction(True, "")


def _may_be_told(fd: int) -> bool:
    """Tell whether mincore(2) is truthful here: of others' files it calls every page resident."""
    return os.fstat(fd).st_uid == os.geteuid() or os.access(f"/proc/self/fd/{fd}", os.W_OK)


def _resident_pages(fd: int, size: int, page_bytes: int) -> int:
    """Return how many pages of the file are in memory; mapping them for the question loads none."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
        *(ctypes.c_int, ctypes.c_int, ctypes.c_int64),
    ]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    resident = 0
    for start in range(0, size, _WINDOW_BYTES):
        length = min(_WINDOW_BYTES, size - start)
        address = libc.mmap(None, length, _PROT_READ, _MAP_SHARED, fd, start)
        if address == _MAP_FAILED:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        pages = ctypes.create_string_buffer(-(-length // page_bytes))
        try:
            if libc.mincore(address, length, pages):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            libc.munmap(address, length)
        resident += sum(byte & 1 for byte in pages.raw)
    return resident
