"""Where the file that is being written is by now, and giving it a name again when others took that away.

A file that was moved, or has another name left, is linked back to its own. One that lost its last name cannot be
linked: it is copied from the open descriptor into a new file, piece by piece, while writing goes on; then that one is
written. Whoever stands under the name by then is left alone: the file takes the next free name. A directory that was
moved is followed; one that was removed is made again, on no other file system than it was on.
"""

from __future__ import annotations

import errno
import os

from fastcap.wire import let_go
from fastcap.workers.directory import SinkFailed, has_lasting_inodes, is_same, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fastcap.workers.sink import Sink

HERE, GONE, STRANGER = "here", "gone", "stranger"
_PIECE_BYTES = 1 << 20
_END_BYTES = 4096
SLICE_BYTES = 8 << 20  # of a copy, between two looks at what else is to be done


class Whereabouts:
    """Keeps a sink's present file under its name.

    Parameters
    ----------
    sink : Sink
    report : callable
        Called with a sentence on each thing that others did to the file, and what was done about it.

    Attributes
    ----------
    copied : bool
        The present file is a copy: it is to be read back and compared.
    seen : bool
        It stood under its name when that was last looked for.
    """

    def __init__(self, sink: Sink, report: Callable[[str], None]) -> None:
        self._sink = sink
        self._report = report
        self._copy: _Copy | None = None
        self.copied = False
        self.seen = True

    def new_file(self) -> None:
        """Begin with the next file."""
        self.copied = False

    @property
    def copying(self) -> bool:
        """Whether the file has no name of its own, and is being copied to one."""
        return self._copy is not None

    def known(self) -> dict[str, Any]:
        """Return by what a successor knows file and directory again: see `is_known`."""
        sink = self._sink
        fds = [sink.fd] if self._copy is None else [sink.fd, self._copy.fd]
        found = [os.fstat(fd) for fd in (sink.directory.fd, *fds) if fd >= 0]
        inodes = [[status.st_dev, status.st_ino] for status in found]
        edge = [sink.edges.safe[0], sink.edges.safe[1].hex()]
        nameless = self._copy is not None
        known = {"directory": [sink.directory.path, inodes[0]], "inodes": inodes[1:], "edge": edge}
        return {**known, "name": sink.name, "nameless": nameless}

    def look(self) -> None:
        """Look where file and directory are; see to it that the file has its name, or a copy of it is under way.

        Raises
        ------
        SinkFailed
            Call it again.
        """
        sink = self._sink
        sink.directory.find()
        if sink.fd < 0:
            return
        fd = sink.fd if self._copy is None else self._copy.fd
        found = self._found(fd, sink.name + ".part")
        self.seen = found == HERE
        if found != HERE:
            self._restore(found)

    def see_to_directory(self) -> None:
        """Make the directory again if it was removed: a file is to be made in it.

        Raises
        ------
        SinkFailed
            Call it again.
        """
        directory = self._sink.directory
        directory.find()
        if directory.removed:
            directory.make_again()
            self._report(f"{directory.wanted} was removed: it is made again")

    def is_named(self) -> bool:
        """Tell whether the file's last name leads to it, after it was completed."""
        return self._found(self._sink.fd, self._sink.name) == HERE

    def drop_other_name(self) -> None:
        """Remove the part name of a file that also has its last one, from a dead predecessor or from somebody else.

        Raises
        ------
        SinkFailed
            Call it again.
        """
        sink, part = self._sink, self._sink.name + ".part"
        try:
            status = os.fstat(sink.fd)
        except OSError as e:
            raise SinkFailed("look at", sink.path, e) from e
        if status.st_nlink > 1 and has_lasting_inodes(status.st_dev) and self._found(sink.fd, part) == HERE:
            sink.directory.remove(part)

    def _found(self, fd: int, name: str) -> str:
        if self._sink.directory.removed:
            return GONE
        try:
            found = os.stat(name, dir_fd=self._sink.directory.fd, follow_symlinks=False)
            if has_lasting_inodes(found.st_dev):
                return HERE if is_same(found, os.fstat(fd)) else STRANGER
            return HERE if self._reads_as_written(fd, name) else STRANGER
        except FileNotFoundError:
            return GONE
        except OSError as e:
            self.seen = False
            raise SinkFailed("look at", os.path.join(self._sink.directory.path, name), e) from e

    def _reads_as_written(self, fd: int, name: str) -> bool:
        """Tell whether a name leads to an open file whose inode says nothing: by its end, read through the name."""
        try:
            with self._sink.directory.opened(name) as other:
                return self._reads_alike(fd, other)
        except OSError as e:
            if e.errno == errno.ELOOP:
                return False
            raise

    def _reads_alike(self, fd: int, other: int) -> bool:
        if self._sink.edges.safe[1] and fd == self._sink.fd:
            alike = self._ends_as_written(other)
            if alike is None:  # too short: the same file if the open one was cut, too
                return not self._ends_as_written(fd)
            return alike
        theirs, mine = os.pread(other, _END_BYTES, 0), os.pread(fd, _END_BYTES, 0)
        return theirs == mine and os.fstat(other).st_size == os.fstat(fd).st_size

    def _ends_as_written(self, fd: int) -> bool | None:
        """Tell whether an open file holds the last durable bytes; None: there are none, or it is shorter."""
        end, edge = self._sink.edges.safe
        there = os.pread(fd, len(edge), end - len(edge))
        return there == edge if edge and len(there) == len(edge) else None

    def _restore(self, found: str) -> None:
        """Give the file a name again."""
        sink, lost = self._sink, self._sink.part_path
        self.drop_copy()  # whose name is gone, too
        self._check_open_file()
        what = "was removed or moved" if found == GONE else "was replaced by another file"
        if sink.directory.removed:
            sink.directory.make_again()
            what = "was removed with its directory, which is made again"
        behind = self._is_gone_behind_mount(found)
        if found == STRANGER or behind:
            sink.take_next_name()
        try:
            part = sink.name + ".part"
            if behind:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            os.link(f"/proc/self/fd/{sink.fd}", part, dst_dir_fd=sink.directory.fd, follow_symlinks=True)
            if self._found(sink.fd, part) != HERE:  # the mount took the file's old name for the file
                sink.directory.remove(part)
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            self._report(f"{lost} {what}: nothing is lost, the same file is {sink.part_path} again")
        except FileExistsError as e:
            raise SinkFailed("name", sink.part_path, e) from e
        except OSError:
            self._copy = _Copy(sink)
            self._report(
                f"{lost} {what}: it is copied to {sink.part_path} from the open file, and written there"
            )

    def _check_open_file(self) -> None:
        """See to it that the descriptor still leads to the file: on a network disk it may lead to another by now.

        Raises
        ------
        SinkFailed
            ESTALE: it does not, and the file is gone.
        """
        self._sink.forget_cached()  # to FUSE both are one file: what was read by the name may be what is cached
        try:
            if self._ends_as_written(self._sink.fd) is not False:
                return
            error = errno.ESTALE
        except OSError as e:
            error = errno.ESTALE if e.errno == errno.ENOENT else e.errno or errno.EIO
        raise SinkFailed("find", self._sink.part_path, error)

    def _is_gone_behind_mount(self, found: str) -> bool:
        """Tell whether the mount does not know that the file has lost its name: a link would be one to that name."""
        if has_lasting_inodes(self._sink.directory.device):
            return False
        try:
            os.fstat(self._sink.fd)
        except OSError:
            return True
        return found == STRANGER

    def forget(self) -> None:
        """Give the file up, and the copy of it that was under way."""
        if self._copy is not None and self._found(self._copy.fd, self._sink.name + ".part") == HERE:
            self._sink.directory.remove(self._sink.name + ".part")
        self.drop_copy()

    def drop_copy(self) -> None:
        """Drop the copy under way; if the file still has no name, the next look starts another."""
        if self._copy is not None:
            let_go(self._copy.fd)
            self._copy = None

    def copy_on(self, upto: int) -> None:
        """Copy another slice, of the file's first ``upto`` bytes; with the last one the copy becomes the file.

        Raises
        ------
        SinkFailed
            Call it again.
        """
        if self._copy is None:
            return
        if not self._copy.step(upto):
            return
        self._copy.sync()
        if self._found(self._copy.fd, self._sink.name + ".part") != HERE:
            return  # the next look begins anew
        fd, self._sink.fd, self._copy = self._sink.fd, self._copy.fd, None
        self.copied = True
        let_go(fd)  # it was synced as far as it counts, and copied

    def go_back(self, upto: int) -> None:
        """Copy again what lies behind the file's first ``upto`` bytes: it is going to be written again."""
        if self._copy is not None:
            self._copy.done = min(self._copy.done, upto)


class _Copy:
    """A new part file that gets what only a descriptor leads to."""

    def __init__(self, sink: Sink) -> None:
        self._path, self._source = sink.part_path, sink.fd
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.done = 0
        try:
            self.fd = os.open(sink.name + ".part", flags, 0o644, dir_fd=sink.directory.fd)
        except OSError as e:
            raise SinkFailed("create", self._path, e) from e

    def step(self, upto: int) -> bool:
        """Copy a slice; tell whether all is copied."""
        end = min(upto, self.done + SLICE_BYTES)
        try:
            while self.done < end:
                data = os.pread(self._source, min(_PIECE_BYTES, end - self.done), self.done)
                if not data:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                write_all(self.fd, data, self.done)
                self.done += len(data)
        except OSError as e:
            raise SinkFailed("copy to", self._path, e) from e
        return self.done >= upto

    def sync(self) -> None:
        try:
            os.fsync(self.fd)
        except OSError as e:
            self.done = 0
            raise SinkFailed("copy to", self._path, e) from e


def is_known(fd: int, known: dict[str, Any]) -> bool:
    """Tell whether an open file is the one that a dead predecessor wrote.

    Parameters
    ----------
    known : dict
        ``inodes``: [device, inode] of the file, and of a copy that had begun; ``edge``: [offset, hexadecimal bytes
        before it] that were durable. Some file systems give a file another inode when it is opened again: then its
        content tells.
    """
    status = os.fstat(fd)
    if [status.st_dev, status.st_ino] in known["inodes"]:
        return True
    offset, edge = known["edge"][0], bytes.fromhex(known["edge"][1])
    if not edge:
        return status.st_size == 0
    return os.pread(fd, len(edge), offset - len(edge)) == edge
