"""The command line: which command is meant, and what becomes of an error.

``tee`` and ``sim`` stand in pipelines and are dispatched before anything else is imported; the rest goes
through click (`fastcap.commands.root`), which imports only the command that was named.
"""

from __future__ import annotations

import atexit
import os
import sys

from fastcap._signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMPLETE, FAILED, USAGE, LOSSES, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; errors are one line on stderr.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; default: this process's own.
    """
    global _status
    _plug_closed()
    if argv is None:
        atexit.register(_end_as_told)  # the first to be registered is the last to run
    args = list(sys.argv[1:] if argv is None else argv)
    own = args[: args.index("--")] if "--" in args else args
    debug = "--debug" in own and own[:1] != ["sim"]
    if debug:
        args.remove("--debug")
    try:
        status = _dispatch(args)
        if argv is None and args[:1] == ["tee"] and status == COMPLETE:
            os._exit(status)  # nothing is buffered here; a pipeline would wait for the interpreter's own end
        return status
    except KeyboardInterrupt:
        _status = INTERRUPTED
        return _failed("interrupted", _status, debug, args)
    except BrokenPipeError:
        return _die_of(signal.SIGPIPE)  # whoever reads our output has gone: end as any program would
    except Exception as error:
        return _failed(*_explained(error), debug, args)


_status = COMPLETE


def _end_as_told() -> None:
    """End an interrupted command with its exit status.

    Once a KeyboardInterrupt has passed through ``exec`` of a string, which imports are full of, the interpreter
    ends by SIGINT, whoever caught it.
    """
    if _status == INTERRUPTED:
        try:
            sys.stdout.flush()
        finally:
            os._exit(INTERRUPTED)


def _dispatch(args: list[str]) -> int:
    if args[:1] == ["tee"]:
        from fastcap.commands.tee import run as tee

        return tee(args[1:])
    if args[:1] == ["sim"]:
        from fastcap.commands.sim import run as sim

        return sim(args[1:])
    own = args[: args.index("--")] if "--" in args else args
    if args[:1] in (["capture"], ["demo"]) and not {"-h", "--help", "--dry-run"} & set(own):
        from fastcap._launch import prestart

        prestart()  # every 10 ms until the first byte count: the board may be running already
    from fastcap.commands._interrupts import ended_by

    with ended_by(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        from fastcap.commands.root import run

        return run(args)


def _explained(error: Exception) -> tuple[str, int]:
    """Return one line for people and the exit status of an error."""
    from fastcap.errors import ConfigError, FastcapError

    if isinstance(error, (ConfigError, ValueError)):
        return str(error), USAGE
    if isinstance(error, OSError) and error.filename is not None and not isinstance(error, FastcapError):
        return f"{os.fsdecode(error.filename)}: {error.strerror}", FAILED
    if isinstance(error, (FastcapError, OSError)):
        return str(error), FAILED
    return f"internal error: {type(error).__name__}: {error}; --debug shows where", FAILED


def _failed(text: str, status: int, debug: bool, args: Sequence[str] = ()) -> int:
    """Say what went wrong: a line on stderr, with ``--json`` an object on stdout, too."""
    if debug:
        import traceback

        traceback.print_exc()
    say(f"fastcap: {' '.join(text.split())}")
    own = args[: args.index("--")] if "--" in args else args
    if "--json" in own:
        import json

        try:
            print(json.dumps({"error": text, "exit_status": status}), flush=True)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is kept of it must not fail again at the end
    return status


def _plug_closed() -> None:
    """Put something onto closed standard descriptors that fails as they would: others must not land there."""
    for fd, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)  # the lowest number free: this one


def say(line: str) -> None:
    """Write a line to stderr; nobody listening is no error."""
    try:
        os.write(2, line.encode(errors="surrogateescape") + b"\n")
    except OSError:
        return


def _die_of(signum: int) -> int:
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
    return 128 + signum
