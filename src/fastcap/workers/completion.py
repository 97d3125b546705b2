"""The end of a file on the destination: measured, given its sidecar and its name, looked for under that name."""

from __future__ import annotations

import contextlib
import errno
import os

from fastcap.naming import sidecar_path
from fastcap.wire import let_go
from fastcap.workers.digest import Digest
from fastcap.workers.directory import SinkFailed, identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastcap.workers.sink import Sink

_READ_BYTES = 1 << 20


class Completion:
    """Completes a sink's files, one after another.

    Parameters
    ----------
    sink : Sink
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._index = -1
        self._misread: str | None = None
        self._expected: str | None = None  # the checksum of what was written before it was copied
        self._size = 0  # of the present file when it is complete

    def _digest_file(self, size: int) -> Digest:
        """Digest the finished file by reading it back."""
        sink = self._sink
        digest = sink.new_digest(sink.position)
        offset = 0
        while offset < size:
            try:
                data = os.pread(sink.fd, min(_READ_BYTES, size - offset), offset)
            except OSError as e:
                raise SinkFailed("read back", sink.part_path, e) from e
            if not data:
                raise SinkFailed("read back", sink.part_path, errno.EIO)
            digest.add(data)
            offset += len(data)
        return digest

    def measured(self, end: int, header_bytes: int) -> dict[str, Any]:
        """Return what the pump knows of the present file, which ends at ring position ``end``."""
        sink = self._sink
        if self._index != sink.index:
            self._index, self._misread, self._expected = sink.index, None, None
        size = self._size = sink.offset(end)
        if sink.digest is not None:
            sink.digest.settle()
        if sink.whereabouts.copied and sink.digest is not None:
            self._expected = sink.digest.checksum
            sink.drop_digest()
        if sink.digest is None and sink.checksum == "sha256":
            sink.digest = self._digest_file(size)
            if self._expected not in (None, sink.digest.checksum):
                self._misread = f"{sink.path} does not read back as it was written"
        return {
            "index": sink.index,
            "path": sink.path,
            "position": sink.position,
            "end": end,
            "bytes": size,
            "first_word": sink.first_word,
            "header_bytes": header_bytes,
            "checksum": sink.digest.checksum if sink.digest is not None else None,
            "sink": {
                **sink.calls.report(),
                "path_lost_at_s": sink.path_lost_at_s,
                "wanted_path": sink.wanted_path,
                "file_error": self.place()["file_error"],
            },
        }

    def commit(self, report: dict[str, Any], header: bytes, *, arrived: bool) -> dict[str, Any]:
        """Write the sidecar, give the file its name, sync the directory; return where it is: see `place`.

        If somebody has taken either name in the meantime, both files get the next free one; ``report`` says so, and
        also where a directory that was moved is by then.

        Parameters
        ----------
        arrived : bool
            See `fastcap.verdict.settle`.

        Raises
        ------
        SinkFailed
            The part file is complete and durable; calling again goes on where this stopped.
        """
        sink = self._sink
        from fastcap.report import placed

        while True:
            place = self.place()
            report |= placed(report, place, arrived=arrived)
            if not self._name_files(report, header):
                part = sink.name + ".part"
                sink.take_next_name()
                self._rename(part, sink.name + ".part")
                continue
            if sink.digest is not None and sink.digest.index is not None:
                sink.digest.index.leave(sink.fd, sink.name)
            try:
                os.fsync(sink.directory.fd)
            except OSError as e:
                raise SinkFailed("complete", sink.path, e) from e
            sink.directory.find()
            if not sink.whereabouts.is_named():
                sink.directory.remove(sidecar_path(sink.name))  # it would speak for somebody else's file
                raise SinkFailed("complete", sink.path, errno.ENOENT)
            if place == self.place():
                break
        try:
            sink.finished = {"name": sink.name, **identity(sink.fd)}
        except OSError as e:
            raise SinkFailed("complete", sink.path, e) from e
        let_go(sink.fd)
        sink.fd = -1
        return place

    def place(self) -> dict[str, Any]:
        """Return where the present file is, as far as that goes into its report; `measured` goes before."""
        sink = self._sink
        error = self._misread
        if sink.fd >= 0 and sink.present_bytes() != self._size:
            error = f"{sink.path} has not the size any more that was written"
        if sink.directory.hidden:
            lost = f"{sink.directory.wanted} was unmounted, or something is mounted over it"
            error = f"{lost}: the file is on the disk that was there"
        return {"path": sink.path, "wanted_path": sink.wanted_path, "file_error": error}

    def find_finished(self) -> None:
        """Look at a file that a dead predecessor has completed, or that is gone since."""
        sink = self._sink
        sink.directory.drop_index(sink.name)
        sink.finished = {
            "name": sink.name,
            "device": sink.directory.device,
            "inode": 0,
            "bytes": 0,
            "ends": "",
        }
        with contextlib.suppress(OSError), sink.directory.opened(sink.name) as fd:
            sink.finished |= identity(fd)

    def _rename(self, old: str, new: str) -> None:
        sink = self._sink
        try:
            sink.directory.rename_noreplace(old, new)
        except OSError as e:
            raise SinkFailed("complete", sink.path, e) from e

    def _name_files(self, report: dict[str, Any], header: bytes) -> bool:
        """Give sidecar and file their names; False if one of these is somebody else's."""
        sink = self._sink
        if sink.whereabouts.is_named():
            self.amend(report, header)
            sink.whereabouts.drop_other_name()
            return True  # an earlier call came so far, or somebody else
        try:
            self.amend(report, header)
        except SinkFailed as e:
            if e.errno != errno.EEXIST:
                raise
            return False
        try:
            self._rename(sink.name + ".part", sink.name)
        except SinkFailed as e:
            if e.errno != errno.EEXIST:
                raise
            sink.directory.remove(sidecar_path(sink.name))
            return False
        return True

    def amend(self, report: dict[str, Any], header: bytes) -> None:
        """Write the sidecar, or replace this capture's own.

        Raises
        ------
        SinkFailed
            Also (EEXIST) if somebody else's is there; that stays as it is.
        """
        sink = self._sink
        from fastcap.workers.sidecar_file import write_sidecar

        blocks = None if sink.digest is None else sink.digest.running()
        write_sidecar(sink.directory, report, header, sink.first_word, blocks)
