"""What every worker does first: take over its descriptors, attach the ring, name itself.

Its arguments are CONTROL RING_CONTROL RING_DATA RING_EVENTS: four inherited descriptors. It talks to the supervisor
over CONTROL and ends when that closes.
"""

from __future__ import annotations

import os
import sys

from fastcap._ring import Ring
from fastcap.errors import RingError
from fastcap.wire import Channel, Closed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def attach(*, writable: bool = False) -> tuple[Channel, Ring]:
    """Return the channel to the supervisor and the ring of this worker.

    Terminal signals are the controller's to answer: the supervisor ignores them, and so do those it starts.
    Where somebody has truncated the ring's files, the process ends without a word: the supervisor says so.
    """
    control, *ring = (int(a) for a in sys.argv[1:5])
    try:
        return Channel.from_fd(control, quick=True), Ring.attach(*ring, writable=writable)
    except RingError:
        os._exit(1)


def give_way(can_wait: bool) -> None:
    """Do not preempt the process that feeds this one while the source can wait (``SCHED_BATCH``), else do.

    On few processors every preemption at a wake-up costs a chain of processes two switches and warm caches; a
    source that cannot wait must find its reader at once. ``--realtime`` stays as it is.
    """
    if os.sched_getscheduler(0) in (os.SCHED_OTHER, os.SCHED_BATCH):
        policy = os.SCHED_BATCH if can_wait else os.SCHED_OTHER
        try:  # noqa: SIM105 - as below
            os.sched_setscheduler(0, policy, os.sched_param(0))
        except OSError:
            pass  # a container that forbids it takes away a few percent, not the capture


def serve(body: Callable[[], None], *, quick: bool = True) -> None:
    """Run a worker's body until the supervisor closes the socket: that is the ordinary end.

    ``quick``: leave out the interpreter's own end, which nobody needs and the session's end waits for.
    """
    try:  # noqa: SIM105 - importing contextlib takes a tenth of a start
        body()
    except Closed:
        pass
    if quick:
        sys.stderr.flush()
        os._exit(0)
