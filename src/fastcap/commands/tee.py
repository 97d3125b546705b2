"""``fastcap tee``: tee(1), but with a ring between its input and its outputs.

Flow: open the outputs as tee does, but wait for none that takes long (`_tee_files`); hand standard input and all
outputs to a session and let go of them here; diagnose each output that fails, when it does; end as tee would: by exit
status, or by the signal.
Neither click nor numpy is imported: a pipeline waits for this.
"""

from __future__ import annotations

import errno
import os

from fastcap._signals import signal
from fastcap.cli import say
from fastcap.errors import FastcapError
from fastcap.wire import let_go

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any

    from fastcap.commands._tee_files import Files
    from fastcap.commands._tee_options import TeeOptions

RING_BYTES = 256 << 20
PIPE_BYTES = 1 << 20
MOST_FILES = 14  # descriptors go with one message, consumers have slots
POLL_S = 0.1
STDOUT = "'standard output'"


def run(args: Sequence[str]) -> int:
    """Copy standard input to standard output and files; return the exit status."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as the others, until there is something to finish
    if not {"--help", "--version"} & set(args):
        from fastcap._launch import prestart

        prestart()
    from fastcap.commands._tee_options import HELP, TeeOptions, UsageError

    try:
        options = TeeOptions(args)
    except UsageError as error:
        say(f"fastcap tee: {error}; see 'fastcap tee --help'")
        return 1
    if options.show_help or options.show_version:
        return _print(HELP if options.show_help else f"fastcap tee {_version()}")
    return Tee(options).run()


class Tee:
    """One run.

    Parameters
    ----------
    options : TeeOptions
        What was asked for.
    """

    def __init__(self, options: TeeOptions) -> None:
        self.options = options
        self.ok = True
        self.names = [STDOUT]
        self.fds = [1]
        self.files: Files | None = None
        self.signals: list[int] = []
        self.broken = False  # an output's end is to end everything
        self.heard = 0  # of the session's outputs
        self.over: set[int] = set()  # outputs that nothing more goes to

    def run(self) -> int:
        """Open, copy, end."""
        self._catch_signals()
        try:
            if not self._open_files():
                return 1
            self._copy()
        except (FastcapError, ValueError) as error:
            say(f"fastcap tee: {error}")
            return 1
        finally:
            if self.files is not None:
                self.files.leave()
        if self.signals:
            return _end_by(self.signals[0])
        if self.broken and self.options.mode is None:
            return _end_by(signal.SIGPIPE)
        return 0 if self.ok else 1

    def _open_files(self) -> bool:
        """Open the files; False if one cannot be had and that is to end everything."""
        if len(self.options.files) > MOST_FILES:
            number = len(self.options.files)
            say(f"fastcap tee: {number} files are more than {MOST_FILES}; chain several fastcap tee")
            return False
        if not self.options.files:
            return True
        from fastcap.commands._tee_files import Files

        self.files = Files()
        how = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if self.options.append else os.O_TRUNC)
        for name in self.options.files:
            try:
                self.fds.append(self.files.open(name, how, len(self.fds)))
                self.names.append(name)
            except OSError as error:
                self._diagnose(name, error.strerror)
                if self.options.mode in ("exit", "exit-nopipe"):
                    return False
        return True

    def _diagnose(self, name: str, problem: str | None) -> None:
        say(f"fastcap tee: {name}: {problem}")
        self.ok = False

    # -- copying ---------------------------------------------------------------------------------

    def _copy(self) -> None:
        from fastcap.ringsize import checked_ring_bytes, default_ring_bytes
        from fastcap.session import Session

        wanted = min(RING_BYTES, default_ring_bytes())
        if self.options.ring is not None:
            from fastcap.units import parse_size

            wanted = parse_size(self.options.ring)
        size = checked_ring_bytes(wanted)
        session = Session(size, label="tee: standard input", writes=False, outputs=len(self.fds))
        recording = session.record(self._spec(), [0, *self.fds])
        self._let_go()
        self._follow(session, recording)

    def _spec(self) -> dict[str, Any]:
        """Return the ``record`` message: any bytes, nothing of the board."""
        from datetime import datetime

        started = datetime.now().astimezone().isoformat()
        files = ", ".join(["standard output", *self.names[1:]])
        return {
            "source": {"kind": "fd", "argv": [], "cwd": None, "device": None},
            "label": "standard input", "command": ["standard input"], "word_bytes": 1, "header": "no",
            "rate": None, "max_words": None, "max_seconds": None, "split_seconds": None, "can_wait": True,
            "replay_bytes_per_s": 0.0, "pipe_bytes": PIPE_BYTES, "sink": None,
            "outputs": list(range(len(self.fds))), "analysis": None, "meta": {}, "started": started,
            "lock_info": {"destination": files, "label": "standard input"},
        }  # fmt: skip

    def _let_go(self) -> None:
        """Close what the workers have now: only their ends count for whoever is at the other side."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, 0)
        os.dup2(null, 1)
        for fd in (null, *self.fds[1:]):
            let_go(fd)

    def _follow(self, session: Any, recording: Any) -> None:
        """Wait for the end; a signal or a broken output stops the reading: what was read is written."""
        stopped = False
        while not recording.over:
            self._diagnose_outputs(recording.outputs)
            if len(self.signals) > 1:
                session.discard()
                return
            if not stopped and (self.signals or self.broken or len(self.over) == len(self.fds)):
                session.stop()
                stopped = True
            seen = (self.heard, len(self.signals))
            news = lambda seen=seen: recording.over or (len(recording.outputs), len(self.signals)) != seen  # noqa: E731
            session.wait_for(news, POLL_S)
        self._wait_for_files(recording)
        session.close()
        if recording.error is not None and not stopped:
            raise recording.error
        if recording.reports and (read_error := recording.reports[-1]["source"]["read_error"]):
            self._diagnose("read error", read_error)

    def _wait_for_files(self, recording: Any) -> None:
        """Wait for what is copied to files; a signal ends that if nothing was read, a second one anyhow."""
        enough = 2 if recording.reports and recording.reports[-1]["words"] else 1
        while True:
            self._diagnose_outputs(recording.outputs)
            if self.files is None or not self.files.pending or len(self.signals) >= enough:
                return
            self.files.wait(POLL_S)

    def _diagnose_outputs(self, outputs: list[dict[str, Any]]) -> None:
        """Say which outputs failed since the last call, as the mode wants it."""
        ends = [(output["index"], output["errno"], output["error"]) for output in outputs[self.heard :]]
        self.heard += len(ends)
        if self.files is not None:  # of those that are copied the copier knows, but not what never came to it
            ends = [end for end in ends if end[1] == errno.EIO or not self.files.is_copied(end[0])]
            ends += [(index, number, os.strerror(number)) for index, number in self.files.ended()]
        for index, number, text in ends:
            self.over.add(index)
            if number:
                self._failed(index, number, text)

    def _failed(self, index: int, number: int, text: str) -> None:
        mode = self.options.mode
        silent = number == errno.EPIPE and mode in (None, "warn-nopipe", "exit-nopipe")
        if not silent:
            self._diagnose(self.names[index], text)
        self.broken |= mode is None if number == errno.EPIPE else False
        self.broken |= not silent and mode in ("exit", "exit-nopipe")

    def _catch_signals(self) -> None:
        """End on a signal as tee does, but with all that was read written; ignored ones stay ignored."""

        def note(number: int, frame: FrameType | None) -> None:
            self.signals.append(number)

        if self.options.ignore_interrupts:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, note)


def _print(text: str) -> int:
    try:
        os.write(1, text.encode() + b"\n")
    except OSError as error:
        say(f"fastcap tee: write error: {error.strerror}")
        return 1
    return 0


def _version() -> str:
    from fastcap import __version__

    return __version__


def _end_by(number: int) -> int:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number
