"""The end of a recording on its destination, when all files have their names: the last report, the last look.

The sidecar of the last file is replaced if the report has grown since (the analysis comes late), as often as it takes
until the destination lets that succeed. Then every file of the recording is looked for once more: its name must still
lead to the inode that was written, in the size that was written.
"""

from __future__ import annotations

import errno
import os

from fastcap.naming import sidecar_path
from fastcap.wire import Channel, Message
from fastcap.workers.directory import Directory, SinkFailed, identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastcap.workers.writing import NasWriter

RETRY_S = 0.5


def close_files(channel: Channel, message: Message, writer: NasWriter | None = None) -> None:
    """Replace the sidecar, look at the files, and say what came of it.

    Parameters
    ----------
    message : dict
        ``recording``, ``directory``, ``files`` (each with ``index``, ``name`` and its
        `fastcap.workers.directory.identity`), ``report`` (the last file's, if it has grown).
    writer : NasWriter, optional
        Who wrote them; without, he died since, and what he knew is read back.
    """
    recording = message["recording"]
    directory = writer.sink.directory if writer is not None else Directory(message["directory"])
    while True:
        try:
            if directory.fd < 0:
                directory.open(message["device"])
            if message["report"] is not None:
                if writer is not None:
                    writer.sink.amend(message["report"], writer.header)
                else:
                    _replace_report(directory, message["report"])
            gone = [
                {"index": f["index"], "why": why} for f in message["files"] if (why := _missing(directory, f))
            ]
            break
        except SinkFailed as e:
            failed = {"text": str(e), "errno": e.errno, "index": message["files"][-1]["index"]}
            channel.send({"op": "sink_error", "recording": recording, **failed})
        got = channel.receive(RETRY_S)
        if got is not None and got[0]["op"] in ("abandon", "final"):
            return
    channel.send({"op": "files_closed", "recording": recording, "gone": gone})


def _missing(directory: Directory, file: dict[str, Any]) -> str | None:
    """Return why a finished file is not there any more as it was, None: it is."""
    name = file["name"]
    try:
        found = identity(os.stat(name, dir_fd=directory.fd, follow_symlinks=False))
    except FileNotFoundError:
        return f"somebody removed or moved {os.path.join(directory.path, name)} after it was complete"
    except OSError as e:
        raise SinkFailed("look at", os.path.join(directory.path, name), e) from e
    if found == {key: file[key] for key in found}:
        return None
    return f"{os.path.join(directory.path, name)} is not the file any more that was written"


def _replace_report(directory: Directory, report: dict[str, Any]) -> None:
    """Put a report into the sidecar that a dead writer left."""
    import json

    from fastcap.sidecar import encode

    name = sidecar_path(os.path.basename(report["path"]))
    try:
        content = json.loads(directory.read(name) or b"")
        content["global"]["fastcap:report"] = report
    except (ValueError, KeyError, TypeError) as e:
        raise SinkFailed("read the sidecar", os.path.join(directory.path, name), errno.ENODATA) from e
    directory.replace(name, encode(content))
