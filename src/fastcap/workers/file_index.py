"""The index of a file that is being written, made from the bytes on their way there.

Nothing here may cost the capture anything: the first error is logged, and there will be no index then; whoever
reads the file makes one.
"""

from __future__ import annotations

import contextlib
import os

from fastcap._decode import IndexBuilder
from fastcap._indexfile import MAGIC, Head, Identity, IndexWriter, index_path
from fastcap.wire import let_go


class FileIndex:
    """The index of one file.

    Parameters
    ----------
    dir_fd : int
        The directory it goes to; stays the caller's.
    name : str
        The file's, in that directory.
    header_bytes : int
        How many of its bytes come before its words.
    wraps : int
        Rollovers of M before the first of them.
    swapped : bool
        They are in the other byte order than this machine's: whoever reads the file makes the index.
    """

    def __init__(
        self, dir_fd: int, name: str, header_bytes: int, wraps: int = 0, *, swapped: bool = False
    ) -> None:
        self._dir_fd = dir_fd
        self._name = index_path(name)
        self._fd = -1
        self._header_bytes = self._to_skip = header_bytes
        self._builder: IndexBuilder | None = None if swapped else IndexBuilder(wraps=wraps)
        self._writer = IndexWriter(self._open)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._name + ".part", flags, 0o644, dir_fd=self._dir_fd)
        return self._fd

    def add(self, data: memoryview) -> None:
        """Take in the file's next bytes; they are not kept."""
        if self._builder is None:
            return
        skip = min(self._to_skip, data.nbytes)
        self._to_skip -= skip
        if skip < data.nbytes:
            self._builder.add(data[skip:])
        try:
            self._writer.add(self._builder.take_rows())
        except OSError as error:
            self.give_up(error)

    def leave(self, fd: int, name: str) -> None:
        """Write what is left and give the index its name; ``fd`` is the file, complete, ``name`` what it is called."""
        if self._builder is None:
            return
        try:
            self._follow(index_path(name))
            self._check_name()
            status = os.fstat(fd)
            head = Head(status.st_size, self._header_bytes, self._builder.words, status.st_mtime_ns)
            if head.words != head.file_words:
                raise ValueError(f"{head.words} words went by, {head.file_words} are in the file")
            self._writer.add(self._builder.last_row())
            try:
                self._complete(head, Identity.of(status))
            except OSError:  # an error that passes need not cost the index
                self._complete(head, Identity.of(status))
        except (OSError, ValueError) as error:
            self.give_up(error)
            return
        let_go(self._fd)
        self._fd, self._builder = -1, None

    def _follow(self, name: str) -> None:
        """Be the index of a file that has got another name."""
        if name != self._name and self._fd >= 0:
            os.rename(self._name + ".part", name + ".part", src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
        self._name = name

    def _complete(self, head: Head, identity: Identity) -> None:
        self._writer.finish(head, identity)
        os.rename(self._name + ".part", self._name, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)

    def _check_name(self) -> None:
        """Refuse to replace what is no index: only these may be made anew by anybody."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(self._name, flags, dir_fd=self._dir_fd)
        except FileNotFoundError:
            return
        try:
            if os.read(fd, len(MAGIC)) != MAGIC:
                raise FileExistsError(f"{self._name} is there, and is no index")
        finally:
            let_go(fd)

    def give_up(self, error: Exception | None = None) -> None:
        """Make no index; say why, if there is an ``error``."""
        self._builder = None
        if self._fd >= 0:
            let_go(self._fd)
            self._fd = -1
            with contextlib.suppress(OSError):  # the next capture of this name replaces it
                os.unlink(self._name + ".part", dir_fd=self._dir_fd)
        if error is not None:
            import logging

            logging.getLogger(__name__).warning("%s: no index is left: %s", self._name, error)
