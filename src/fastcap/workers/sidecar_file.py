"""The sidecar beside a file on the destination: written, and replaced when its report has grown."""

from __future__ import annotations

import errno
import os

from fastcap.naming import sidecar_path
from fastcap.workers.directory import Directory, SinkFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def write_sidecar(
    directory: Directory,
    report: dict[str, Any],
    header: bytes,
    first_word: int,
    blocks: dict[str, Any] | None,
) -> None:
    """Write a file's sidecar, or replace its own.

    Raises
    ------
    SinkFailed
        Also (EEXIST) if somebody else's is there; that stays as it is.
    """
    from fastcap.sidecar import build_sidecar, encode
    from fastcap.workers.filenames import header_text

    text = header_text(header)
    content = build_sidecar(
        report, header_bytes=len(header), raw_header_text=text, first_word=first_word, blocks=blocks
    )
    name = sidecar_path(os.path.basename(report["path"]))
    directory.replace(name, encode(content), new=not _is_ours(directory, name, report))


def replace_report(directory: Directory, report: dict[str, Any]) -> None:
    """Put a report that has grown into the sidecar that is there; whoever wrote that is gone.

    Raises
    ------
    SinkFailed
        Call it again.
    """
    import json

    from fastcap.sidecar import encode

    name = sidecar_path(os.path.basename(report["path"]))
    try:
        content = json.loads(directory.read(name) or b"")
        content["global"]["fastcap:report"] = report
    except (ValueError, KeyError, TypeError) as e:
        raise SinkFailed("read the sidecar", os.path.join(directory.path, name), errno.ENODATA) from e
    directory.replace(name, encode(content))


def _is_ours(directory: Directory, name: str, report: dict[str, Any]) -> bool:
    """Tell whether a sidecar that is there is this file's own."""
    import json

    content = directory.read(name)
    try:
        known = json.loads(content)["global"]["fastcap:report"] if content else {}
        same_name = os.path.basename(known["path"]) == os.path.basename(
            report["path"]
        )  # its directory may move
        return same_name and all(known[key] == report[key] for key in ("started", "bytes"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
