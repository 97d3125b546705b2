"""The end of a recording on its destination, when all files have their names: the last report, the last look.

The sidecar of the last file is replaced if the report has grown since (the analysis comes late), as often as it takes
until the destination lets that succeed. Then every file of the recording is looked for once more: its name must still
lead to the inode that was written, in the size that was written; where inodes do not last, to one that begins and ends
alike.
"""

from __future__ import annotations

from fastcap.wire import Channel, Message
from fastcap.workers.directory import Directory, SinkFailed
from fastcap.workers.sidecar_file import replace_report

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
        `fastcap.workers.directory.identity`), ``report`` (the last file's, if it has grown), ``found`` (where the
        directory was last, and its [device, inode]).
    writer : NasWriter, optional
        Who wrote them; without, he died since, and what he knew is read back.
    """
    recording = message["recording"]
    directory = writer.sink.directory if writer is not None else Directory(message["directory"])
    while True:
        try:
            _reach(directory, message)
            if message["report"] is not None:
                if writer is not None:
                    writer.completion.amend(message["report"], writer.header)
                else:
                    replace_report(directory, message["report"])
            directory.find()
            files = message["files"]
            gone = [{"index": f["index"], "why": why} for f in files if (why := _missing(directory, f))]
            break
        except SinkFailed as e:
            failed = {"text": str(e), "errno": e.errno, "index": message["files"][-1]["index"]}
            channel.send({"op": "sink_error", "recording": recording, **failed})
        got = channel.receive(RETRY_S)
        if got is not None and got[0]["op"] in ("abandon", "final"):
            return
    channel.send({"op": "files_closed", "recording": recording, "gone": gone, "directory": directory.path})


def _reach(directory: Directory, message: Message) -> None:
    """Open the directory, or reopen it where its mount has died.

    Raises
    ------
    SinkFailed
        Call it again.
    """
    if directory.fd >= 0 and directory.is_reachable():
        return
    if message["found"] is not None and directory.open_known(*message["found"]):
        return
    last = message["files"][-1]
    if not directory.come_back(lambda there: there.is_missing(last) is None):
        directory.open(message["device"])


def _missing(directory: Directory, file: dict[str, Any]) -> str | None:
    """Return why a finished file is not where the report says, as it was, None: it is."""
    if directory.hidden:
        return f"{directory.wanted} was unmounted, or covered: {file['name']} is on the disk that was there"
    return directory.is_missing(file)
