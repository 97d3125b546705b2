"""What every worker does first: take over its descriptors, attach the ring, name itself.

A worker is started as ``python -P -m fastcap.workers.NAME CONTROL RING_CONTROL RING_DATA RING_EVENTS``: four
inherited descriptors. It talks to the supervisor over CONTROL and ends when that closes.
"""

from __future__ import annotations

import sys

from fastcap._ring import Ring
from fastcap.wire import Channel, Closed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def attach(*, writable: bool = False) -> tuple[Channel, Ring]:
    """Return the channel to the supervisor and the ring of this worker.

    Terminal signals are the controller's to answer: the supervisor ignores them, and so do those it starts.
    """
    control, *ring = (int(a) for a in sys.argv[1:5])
    return Channel.from_fd(control, quick=True), Ring.attach(*ring, writable=writable)


def serve(body: Callable[[], None]) -> None:
    """Run a worker's body until the supervisor closes the socket: that is the ordinary end."""
    try:
        body()
    except Closed:
        return
