"""The process in which a function is called with complete files, one after another, under its limits.

Started by `fastcap.sweeping.analyst` as ``python -P -m fastcap.workers.file_analysis``. Its first line on stdin is the
function, as in a ``record`` message (``path``, ``sys_path``, ``analyse`` or ``pickled``, ``timeout_s``,
``memory_bytes``), answered with ``name``, ``blocks`` (it wants blocks) and ``error``; then a path a line, each
answered with a line of what `UserFunction.call` returns.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from fastcap.workers.limits import Limits, yield_to_the_capture


def main() -> None:
    """Answer until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the controller decides
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the user's function prints is for people
    sys.stdout = sys.stderr
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    yield_to_the_capture()
    message = json.loads(sys.stdin.readline())
    from fastcap.trace import load
    from fastcap.workers.userfunc import UserFunction

    function = UserFunction.from_message(message)
    assert function is not None
    found = {"name": function.name, "blocks": function.wants_blocks, "error": function.error}
    print(json.dumps(found), file=answers, flush=True)
    limits = Limits(message["timeout_s"], message["memory_bytes"])
    for line in sys.stdin:
        path = json.loads(line)

        def trace(path: str = path) -> Any:
            return load(path)

        with limits.memory():
            outcome = function.call(trace, limits)
        print(json.dumps(outcome), file=answers, flush=True)


if __name__ == "__main__":
    main()
