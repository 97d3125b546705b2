"""``fastcap status``: every user's captures, and sessions that were left behind. Changes nothing."""

from __future__ import annotations

import glob
import json
import os
import pwd
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from fastcap._messages import one_line
from fastcap.commands.root import debug_option, json_option
from fastcap.ringsize import SHM
from fastcap.units import format_duration, format_size

_WORD_BYTES = 8
_SILENT_S = 2.0  # shorter pauses are a program's buffer that fills


@click.command(epilog="Example:  fastcap status --json")
@json_option
@debug_option
def status(as_json: bool) -> int:
    """Show every user's captures: who, since and until when, from where to where, backlog, losses.

    Sessions that were left behind are listed, too: one's own, as root everybody's. Nothing is changed.
    """
    from fastcap.workers.statusfile import read_all

    sessions = [_told(session) for session in read_all() if session["alive"]]
    left = list(_left_behind({session["folder"] for session in sessions if _is_its_owners(session)}))
    if as_json:
        click.echo(json.dumps({"sessions": sessions, "left_behind": left}))
        return 0
    for line in _lines(sessions, left):
        click.echo(line)
    return 0


def _is_its_owners(session: dict[str, Any]) -> bool:
    """Tell whether a session's folder is that of the user whose file names it: anybody may name another's."""
    folder: str = session["folder"]
    return os.path.dirname(folder) == f"{SHM}/fastcap-{session['uid']}"


def _told(session: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a session that lives, without what only fastcap needs."""
    keys = ("session", "folder", "uid", "user", "pid", "label", "started", "ring_bytes")
    recordings = [_recording(recording) for recording in session["recordings"]]
    return {**{key: session[key] for key in keys}, "user": _user(session["uid"]), "recordings": recordings}


def _recording(recording: dict[str, Any]) -> dict[str, Any]:
    keys = (
        "recording",
        "state",
        "device",
        "destination",
        "expected_end",
        "elapsed_s",
        "bytes",
        "backlog_bytes",
    )
    lost = recording.get("dropped_bytes") or 0
    return {
        **{key: recording.get(key) for key in keys},
        "words_lost": lost // _WORD_BYTES,
        "stalled_s": recording.get("stalled_s"),
        "silent_s": recording.get("silent_s"),
        "trouble": recording.get("trouble"),
    }


# -- left behind -------------------------------------------------------------------------------------


def _left_behind(alive: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the sessions whose folders are there and whose supervisors are not."""
    bases = glob.glob(f"{SHM}/fastcap-*") if os.getuid() == 0 else [f"{SHM}/fastcap-{os.getuid()}"]
    folders = [entry.path for base in bases for entry in _folders(base) if entry.path not in alive]
    if not folders:
        return
    used = _used_folders()
    for folder in sorted(set(folders) - used):
        try:
            st = os.stat(folder)
        except OSError:
            continue  # its session has just ended
        yield {
            "session": os.path.basename(folder),
            "folder": folder,
            "uid": st.st_uid,
            "user": _user(st.st_uid),
            "started": datetime.fromtimestamp(st.st_mtime).astimezone().isoformat(timespec="seconds"),
            "bytes": _size(folder),
        }


def _folders(base: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(base) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _used_folders() -> set[str]:
    """Return session folders that a process has open: a session may live without a status file."""
    used = set()
    for link in glob.iglob("/proc/[0-9]*/fd/*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith(f"{SHM}/fastcap-"):
            parts = target.split("/")
            used.add("/".join(parts[:5]))
    return used


def _size(folder: str) -> int:
    """Return the memory that a folder's files take."""
    try:
        return sum(os.lstat(os.path.join(folder, name)).st_blocks * 512 for name in os.listdir(folder))
    except OSError:
        return 0


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# -- for people --------------------------------------------------------------------------------------


def _lines(sessions: list[dict[str, Any]], left: list[dict[str, Any]]) -> Iterator[str]:
    if not sessions:
        yield "no capture is running"
    for session in sessions:
        ring = format_size(session["ring_bytes"])
        who = f"{session['user']} (pid {session['pid']})"
        label, since = one_line(session["label"]), one_line(session["started"])
        yield f"{who} captures from {label} since {since}, ring {ring}"
        for recording in session["recordings"]:
            yield "  " + _described(recording)
    for session in left:
        where = f"{session['folder']}, {format_size(session['bytes'])}"
        yield f"left behind by {session['user']} at {session['started']}: {where}"


def _described(recording: dict[str, Any]) -> str:
    parts = [f"recording {recording['recording']} {one_line(recording['state'])}"]
    if recording["device"]:
        parts.append(f"device {one_line(recording['device'])}")
    if recording["destination"]:
        parts.append(f"to {one_line(recording['destination'])}")
    if recording["expected_end"]:
        parts.append(f"until {one_line(recording['expected_end'])}")
    if recording["bytes"] is not None:
        parts.append(f"{format_size(recording['bytes'])} in {format_duration(recording['elapsed_s'])}")
    parts.append(f"backlog {format_size(recording['backlog_bytes'])}, lost {recording['words_lost']} words")
    if recording["stalled_s"]:
        parts.append(f"destination stalls for {format_duration(recording['stalled_s'])}")
    if (recording["silent_s"] or 0) >= _SILENT_S:
        parts.append(f"source silent for {format_duration(recording['silent_s'])}")
    if recording["trouble"]:
        parts.append(one_line(recording["trouble"]))
    return ", ".join(parts)
