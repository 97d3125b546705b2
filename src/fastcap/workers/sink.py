"""The files of one recording on the destination: every system call on that file system is here.

A file is ``NAME.bin.part`` until it is complete. Completing: sidecar (written beside, synced, renamed), then
the file's own rename, which never replaces anything, then fsync of the directory (`workers/directory`).
"""

from __future__ import annotations

import contextlib
import errno
import os

from fastcap._pump import sync, write_at
from fastcap._ring import Slot, now_ns
from fastcap.naming import plain_name, sidecar_path
from fastcap.wire import let_go
from fastcap.workers.calls import Calls
from fastcap.workers.digest import Digest
from fastcap.workers.directory import Directory, SinkFailed, write_all
from fastcap.workers.filenames import FileNames, needed, shifted_header
from fastcap.workers.intact import EDGE_BYTES, Edges
from fastcap.workers.whereabouts import Whereabouts, is_known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fastcap.workers.file_index import FileIndex

_BEGIN_BYTES = 4096
_NOT_A_NAME = (errno.EINVAL, errno.EILSEQ)  # what file systems say that do not take every character


class Sink:
    """One recording's files.

    Parameters
    ----------
    message : dict
        ``directory``, ``name`` (without .bin), ``suffixes`` (of the second and later files: see
        `fastcap.naming`), ``checksum`` ("sha256" or "none"), ``stalls`` (injected: [[at_s, for_s], ...]);
        of a predecessor ``so_far`` (see `known`), ``losses`` (see `fastcap.workers.intact.mend`) and ``finished``.
    slot : Slot
        The consumer slot whose ring memory is written.

    Attributes
    ----------
    finished : dict
        The last complete file: its ``name`` and `fastcap.workers.directory.identity`; empty: there is none.
    """

    def __init__(self, message: dict[str, Any], slot: Slot) -> None:
        self.directory = Directory(message["directory"])
        self._needed: dict[str, Any] = message["names"]
        self.names = FileNames(message["names"])
        self.on_renamed: Callable[[], None] = lambda: (
            None
        )  # called when a file gets another name, before it has it
        self.checksum: str = message["checksum"]
        self.rate: list[int] | None = message.get("rate")  # words per second, where it is stated
        self.calls = Calls(message.get("stalls") or [], message.get("so_far"))
        self.slot = slot
        self._so_far: dict[str, Any] | None = message.get("so_far")
        self._losses: list[dict[str, Any]] = message.get("losses") or []
        self.on_incident: Callable[[str], None] = lambda text: (
            None
        )  # others did something to file or directory
        self.on_loss: Callable[[dict[str, Any]], None] = lambda loss: None
        self._known: dict[str, Any] = {}
        self.finished: dict[str, Any] = message.get("finished") or {}
        self.whereabouts = Whereabouts(self, lambda text: self.on_incident(text))
        self.fd = -1
        self.index = 0
        self.path_lost_at_s: float | None = None  # when the directory's path was first seen to lead elsewhere
        self.wraps_before = 0  # rollovers of M before the recording's first word
        self.swapped = False  # its words are in the other byte order than this machine's
        self.header_bytes = 0  # of the board's header; known before the first byte is written
        self._begun = False  # next_file() has counted on, but not made the file yet
        self.given: str | None = None  # the present file's name, where it has one of its own
        self._new_file(0, 0, b"")

    def _new_file(self, position: int, first_word: int, prefix: bytes) -> None:
        self.position = position  # of the file's first ring byte
        self.first_word = first_word
        self.prefix = prefix  # a rewritten header that stands before it
        self.removed_bytes = sum(loss["bytes"] for loss in self._losses if loss["index"] == self.index)
        self.edges = Edges()
        self.whereabouts.new_file()
        self.dirty = False
        self.digest: Digest | None = self.new_digest(position)  # None: a predecessor had some of the bytes
        self.calls.new_file()

    def new_digest(self, position: int) -> Digest:
        """Return a digest, and the index, of the present file from ring position ``position`` on."""
        return Digest(self.checksum, position, self._make_index)

    def _make_index(self) -> FileIndex:
        from fastcap.workers.file_index import FileIndex

        wraps = 0 if self.index else self.wraps_before  # a later file's header says nothing of them
        return FileIndex(self.directory.fd, self.name, self.header_bytes, wraps, swapped=self.swapped)

    # -- names -------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """File name of the present file, without .part."""
        return self.names.name(self.index, self.first_word, self.given)

    @property
    def wanted_path(self) -> str | None:
        """The path that the present file would have if others had left things alone; None: it has that."""
        wanted = self.names.wanted(self.index, self.first_word, self.given)
        path = os.path.join(self.directory.wanted, wanted)
        return None if path == self.path else path

    @property
    def path(self) -> str:
        """Path of the present file once it is complete."""
        return os.path.join(self.directory.path, self.name)

    def offset(self, position: int) -> int:
        """Return where in the present file the byte at a ring position has its place."""
        return len(self.prefix) + position - self.position - int(self.removed_bytes)

    @property
    def part_path(self) -> str:
        """Path of the present file until then."""
        return self.path + ".part"

    # -- opening -----------------------------------------------------------------------------------

    def open(self, *, again: bool = False, begun: bool = False) -> None:
        """Check the destination and make the first part file.

        With ``again`` an empty part file is taken for a dead predecessor's. With ``begun`` the recording is under
        way: a name that is taken is replaced by the next free one.

        Raises
        ------
        SinkFailed
            Also if a name is taken that this recording, or one that follows it, is going to need.
        """
        begun_ns = now_ns()
        self.directory.open()
        if not begun and not again:
            self._check_names()
        self._create(again=again, renames=begun)
        self.calls.opened(begun_ns, now_ns())

    def open_again(self, device: int) -> None:
        """Open the directory that a predecessor wrote to, wherever it is by now.

        Raises
        ------
        SinkFailed
            Call it again.
        """
        known = (self._so_far or {}).get("directory")
        if known is not None and self.directory.open_known(*known):
            return
        if not self.directory.come_back(self._wrote_in):
            self.directory.open(device)

    def _wrote_in(self, directory: Directory) -> bool:
        """Tell whether a directory, of whatever file system, holds the file that was written to this one last."""
        if self._so_far is not None:
            name = self.name if self.fd >= 0 else self._so_far["name"]
            for each in (name + ".part", name):
                with contextlib.suppress(FileNotFoundError), directory.opened(each) as fd:
                    if self._is_own(fd):
                        return True
        return bool(self.finished) and directory.is_missing(self.finished) is None

    def _is_own(self, fd: int) -> bool:
        """Tell whether an open file is the one that was written last; as long as the ring holds it, by its begin."""
        if is_known(fd, self._so_far or {}):
            return True
        if self.slot.cursor > self.position:
            return False
        begin = os.pread(fd, _BEGIN_BYTES, 0)
        try:
            words = bytes(self.slot.view(self.position, max(0, len(begin) - len(self.prefix))))
        except ValueError:  # it holds more than has come
            return False
        return begin == (self.prefix + words)[: len(begin)]

    def path_is_lost(self) -> bool:
        """Tell whether no path leads to the directory any more; note when that was first seen."""
        lost = self.directory.hidden
        if lost and self.path_lost_at_s is None:
            self.path_lost_at_s = round((now_ns() - self.calls.started_ns) * 1e-9, 6)
        return lost

    def _check_names(self) -> None:
        """Look for every name that is going to be needed; one alone is looked for when it is made."""
        wanted = [plain_name(name) if self.names.plain else name for name in needed(self._needed)]
        if len(wanted) < 2:
            return
        there = self.directory.names()
        for name in wanted:
            for each in (name, sidecar_path(name), name + ".part"):
                if each in there:
                    raise SinkFailed("create", os.path.join(self.directory.path, each), errno.EEXIST)

    def _taken(self) -> str | None:
        """Return what already stands under the present file's names, None: nothing."""
        for name in (self.name, sidecar_path(self.name)):
            if self.directory.exists(name):
                return os.path.join(self.directory.path, name)
        return None

    def take_next_name(self) -> None:
        """Go to the next name of the present file that nobody has, and say so before anything has it."""
        number = self.names.number(self.index)
        while True:
            number += 1
            self.names.go_to(self.index, number)
            if self._taken() is None and not self.directory.exists(self.name + ".part"):
                self.on_renamed()
                return

    def _create(self, *, again: bool = False, renames: bool = False) -> None:
        """Make the present file's part file; ``renames``: under another name where its own is taken."""
        while self.fd < 0:
            try:
                self._create_part(again=again)
            except SinkFailed as e:
                if e.errno in _NOT_A_NAME and self.names.can_be_plain:
                    self._use_plain_names(check=not renames and not again)
                elif e.errno == errno.EEXIST and renames:
                    self.take_next_name()
                else:
                    raise

    def _use_plain_names(self, *, check: bool) -> None:
        """Go on with names that any file system takes, and say so."""
        self.names.plain = True
        self.on_renamed()
        if check:
            self._check_names()

    def _create_part(self, *, again: bool) -> None:
        if taken := self._taken():
            raise SinkFailed("create", taken, errno.EEXIST)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        part = self.name + ".part"
        try:
            if again and self.directory.exists(part) and not os.stat(part, dir_fd=self.directory.fd).st_size:
                self.fd = os.open(part, flags, 0o644, dir_fd=self.directory.fd)
            else:
                self.fd = os.open(part, flags | os.O_EXCL, 0o644, dir_fd=self.directory.fd)
        except OSError as e:
            raise SinkFailed("create", self.part_path, e) from e

    def begin(self, position: int, started_ns: int) -> None:
        """Say where the recording's first byte lies and when it began."""
        self.calls.begin(started_ns)
        if self.index == 0 and self.digest is not None and self.digest.position == 0:
            self.position = self.digest.position = position

    def next_file(self, position: int, first_word: int, header: bytes, given: str | None = None) -> None:
        """Begin the next file of a split recording with the board's header, its start rewritten.

        ``given`` is its name without ending, if it has one of its own.

        Raises
        ------
        SinkFailed
            Call it again.
        """
        if self.fd < 0 and not self._begun:
            self.index += 1
            self.given = given
            self._new_file(position, first_word, shifted_header(header, first_word, self.rate))
            self._begun = True
        begun_ns = now_ns()
        self.whereabouts.see_to_directory()
        self._create(renames=True)
        self.calls.note(begun_ns, now_ns() - begun_ns)
        self._write_prefix()
        self._begun = False

    def _write_prefix(self) -> None:
        self._put_prefix()
        if self.digest is not None:
            self.digest.add(self.prefix)

    def _put_prefix(self) -> None:
        try:
            write_all(self.fd, self.prefix, 0)
        except OSError as e:
            raise SinkFailed("write", self.part_path, e) from e

    # -- writing -----------------------------------------------------------------------------------

    def write(self, position: int, size: int) -> int:
        """Write ring bytes at their place in the file; return how many were taken.

        Raises
        ------
        SinkFailed
            Nothing of this call counts as written.
        """
        if position == self.position:  # also after a failed fsync, which may have thrown it away
            self._put_prefix()
        offset = self.offset(position)
        digest = self.digest
        if digest is not None:
            digest.take_beside(self.slot, position, size)
        done, start, took = write_at(self.slot, self.fd, position, size, offset, self.calls.held_until_ns())
        self.calls.note(start, took, self.calls.write_s)
        self.dirty = True
        if done <= 0:
            raise SinkFailed("write", self.part_path, -done if done else errno.EIO)
        if digest is not None:
            digest.take(self.slot, position, int(done))
        last = min(int(done), EDGE_BYTES)
        self.edges.wrote(offset, offset + done, bytes(self.slot.view(position + done - last, last)))
        return int(done)

    @property
    def digested(self) -> int | None:
        """Position below which the digest has taken all bytes in; None: it is not behind."""
        if self.digest is None:
            return None
        done = self.digest.done
        return done if done < self.digest.position else None

    def sync(self) -> int:
        """Fsync the file; return how long it took, ns."""
        rc, start, took = sync(self.slot, self.fd, self.calls.held_until_ns())
        self.calls.note(start, took, self.calls.fsync_s)
        if rc < 0:
            self.forget_cached()
            raise SinkFailed("fsync", self.part_path, -rc)
        self.dirty = False
        return int(took)

    def forget_cached(self) -> None:
        """Drop the file's cached pages, after a failed fsync: they count as clean, and the disk may not have them.

        Written again in place they can be lost all the same: ext4 leaves their blocks marked as never written, and
        after the next mount these read as zeros.
        """
        try:
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError:
            return  # nothing is cached there

    def reopen_if_stale(self, error: int) -> bool:
        """After ESTALE or EBADF the descriptor may be dead: reopen the part file, if it is there and ours.

        Where the mount has died, in the one that is at its path by now, if that holds the file.

        Returns whether the file is gone for good: its name leads nowhere, or to somebody else's.
        """
        if error not in (errno.ESTALE, errno.EBADF, errno.ENOTCONN):
            return False
        if not self.directory.is_reachable() and self.directory.come_back(self._wrote_in):
            self.whereabouts.drop_copy()
        if self.fd < 0:
            return False
        if self.whereabouts.copying:  # it has no name
            return error == errno.ESTALE
        try:
            name = self.name + ".part"
            if self._knows_file() and not self.directory.exists(name) and self.directory.exists(self.name):
                name = self.name  # it had its name already
            fd = self._open_own(name)
        except FileNotFoundError:
            return error == errno.ESTALE
        except (OSError, SinkFailed):
            return False  # still unreachable: the next write says so, and this is tried again
        if fd >= 0:
            let_go(self.fd)
            self.fd = fd
        return fd < 0 and error == errno.ESTALE

    def create_anew(self) -> None:
        """Make another, empty part file in the place of one that is gone for good; `fastcap.workers.intact.mend` it.

        Raises
        ------
        SinkFailed
            Call it again.
        """
        self.whereabouts.see_to_directory()
        self.whereabouts.forget()
        if self.fd >= 0:
            let_go(self.fd)
            self.fd = -1
        self.dirty = True
        self._create(renames=True)

    def _open_own(self, name: str) -> int:
        """Open a file of this name; -1 if it is not the one that was written."""
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directory.fd)
        own = False
        try:
            own = not self._knows_file() or self._is_own(fd)
        finally:
            if not own:
                let_go(fd)
        return fd if own else -1

    def _knows_file(self) -> bool:
        """Tell whether it was noted by what the present file is known again."""
        return self._so_far is not None and self._so_far["index"] == self.index

    def known(self) -> dict[str, Any]:
        """Return by what a successor, or this one after an error, knows the present file again."""
        try:
            self._known = self.whereabouts.known()
        except OSError:  # unreachable at this moment
            self._known |= {"nameless": self.whereabouts.copying}
            return self._known
        self._so_far = {"index": self.index, **self._known}
        return self._known

    def intact_bytes(self, written: int) -> int | None:
        """Return how much of the file's beginning is as it was written up to ring position ``written``; None: all.

        Call it after `sync`.
        """
        try:
            return self.edges.intact_bytes(self.fd, self.offset(written))
        except OSError as e:
            raise SinkFailed("look at", self.part_path, e) from e

    def drop_digest(self) -> None:
        """Digest the file at its end, from what is there."""
        if self.digest is not None:
            self.digest.give_up()
            self.digest = None

    # -- after a predecessor's death -------------------------------------------------------------------

    def unfinished(self, first_word: int, given: str | None) -> bool:
        """Tell whether this file of a split recording still stands under its part name."""
        self.first_word, self.given = first_word, given
        return self._find_part()

    def _find_part(self) -> bool:
        """Look for the present file's part; where a predecessor died while it renamed, under the name before."""
        if self.directory.exists(self.name + ".part"):
            return True
        number = self.names.number(self.index)
        if number > 1 and not self.directory.exists(self.name):
            self.names.go_to(self.index, number - 1)
            if self.directory.exists(self.name + ".part"):
                return True
            self.names.go_to(self.index, number)
        return False

    def step(self) -> None:
        """Count a file that is complete."""
        self.index += 1

    def continue_file(self, position: int, first_word: int, header: bytes, given: str | None) -> None:
        """Open the part file that a dead predecessor left; its digest is made at the end, from the file."""
        prefix = shifted_header(header, first_word, self.rate) if self.index else b""
        self.given = given
        self._new_file(position, first_word, prefix)
        self.digest = None
        self.calls.take_over(self.index)
        try:
            if self._find_part():
                self.fd = self._open_own(self.name + ".part")
            elif self.slot.cursor > position and self.directory.exists(self.name):
                self.fd = self._open_own(self.name)  # it had its name already
        except OSError as e:
            raise SinkFailed("open", self.part_path, e) from e
        if self.fd < 0:  # there is none, or it is somebody else's
            self.whereabouts.see_to_directory()
            self._create(renames=True)
        self.directory.drop_index(self.name)
        self.dirty = True
        self._write_prefix()

    def present_bytes(self) -> int:
        """Return the present file's size."""
        try:
            return os.fstat(self.fd).st_size
        except OSError as e:
            raise SinkFailed("look at", self.part_path, e) from e

    def discard(self) -> None:
        """Remove the part file of a recording that never began."""
        if self.fd >= 0:
            os.unlink(self.name + ".part", dir_fd=self.directory.fd)
            let_go(self.fd)
            self.fd = -1
        if self.digest is not None:
            self.digest.give_up()
