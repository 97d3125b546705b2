"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def save_whole(path: Path, content: bytes) -> None:
    """Replace a file by new content, durably; whoever reads it sees the old or the new."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# -- differences -------------------------------------------------------------------------------------
