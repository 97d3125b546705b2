"""One process fills blocks in place, others read every word: through fastcap's ring, or through iceoryx2.

    python bench/fan_out.py ring LIBRARY BLOCK BYTES CONSUMERS      # LIBRARY: c/ring_calls.c as a shared object
    python bench/fan_out.py iceoryx2 - BLOCK BYTES CONSUMERS

Prints bytes a second from the first block until all have read the last. Both sides run the same Python: numpy fills and
sums, the way of passing blocks on is called for each. iceoryx2's subscribers ask and yield the processor while nothing
is there; its publisher waits for them, nothing is lost, and as much may be under way as the ring holds.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

UNDER_WAY = 64 << 20  # bytes: the ring's capacity
GATHER = 512 << 10  # a consumer of the ring that has to wait asks for so much at once


def main(way: str, library: str, block: int, total: int, consumers: int) -> None:
    """Set up one side, time it, take it down."""
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    side = Ring(library, block, total, consumers) if way == "ring" else Iceoryx2(block, total, consumers)
    try:
        run(side)
    finally:
        side.close()


def run(side: Ring | Iceoryx2) -> None:
    """Fork the consumers, produce, wait for them, print the rate; a wrong sum is an error."""
    ready, here = os.pipe()
    pids = [_fork(side, i, here) for i in range(side.consumers)]
    side.open_to_write()
    for _ in pids:
        os.read(ready, 1)
    base = np.arange(side.block // 8, dtype=np.uint64)
    start_s = time.monotonic()
    for pos in range(0, side.total, side.block):
        side.fill(pos, lambda words, at=pos // 8: np.add(base, np.uint64(at), out=words))
    failed = [pid for pid in pids if os.waitpid(pid, 0)[1]]
    if failed:
        raise SystemExit("fan_out: a consumer read something else")
    print(f"{side.total / (time.monotonic() - start_s):.0f}")


def _fork(side: Ring | Iceoryx2, i: int, told: int) -> int:
    """Start consumer ``i``; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        found = 0
        for words in side.blocks(i, lambda: os.write(told, b".")):
            found += int(np.add.reduce(words))
        words_in_all = side.total // 8
        status = found != words_in_all * (words_in_all - 1) // 2
    finally:
        os._exit(status)


class Ring:
    """The ring of ``_ring.h``, as `bench/c/ringside.h` makes one."""

    def __init__(self, library: str, block: int, total: int, consumers: int) -> None:
        self.block, self.total, self.consumers = block, total, consumers
        self.calls = ctypes.CDLL(library)
        self.calls.ring_open.restype = ctypes.c_void_p
        self.calls.ring_more_than.restype = ctypes.c_uint64
        self.words = _words_at(self.calls.ring_open(consumers), 2 * UNDER_WAY // 8)
        if self.calls.ring_capacity() != UNDER_WAY:
            raise SystemExit("fan_out: another capacity than the library's")

    def open_to_write(self) -> None:
        """All is open."""

    def close(self) -> None:
        """Nothing has a name."""

    def fill(self, pos: int, into: Callable[[np.ndarray], object]) -> None:
        """Wait for room, fill the block at ``pos``, publish it."""
        end = ctypes.c_uint64(pos + self.block)
        self.calls.ring_await_room(end, self.consumers)
        into(self._block(pos))
        self.calls.ring_publish(end)

    def blocks(self, i: int, ready: Callable[[], object]) -> Iterator[np.ndarray]:
        """Yield each block once it is there; what was yielded is given up."""
        ready()
        framed, gather = 0, max(self.block, GATHER)
        for pos in range(0, self.total, self.block):
            if framed < pos + self.block:
                want = min(pos + gather, self.total)
                framed = self.calls.ring_more_than(i, ctypes.c_uint64(pos), ctypes.c_uint64(want))
            yield self._block(pos)
            self.calls.ring_advance(i, ctypes.c_uint64(pos + self.block))

    def _block(self, pos: int) -> np.ndarray:
        first = pos % UNDER_WAY // 8
        return self.words[first : first + self.block // 8]


class Iceoryx2:
    """A publish-subscribe service, each sample a block."""

    def __init__(self, block: int, total: int, consumers: int) -> None:
        import iceoryx2

        self.iox = iceoryx2
        self.iox.set_log_level(self.iox.LogLevel.Error)
        self.block, self.total, self.consumers = block, total, consumers
        self.prefix = f"fastcap-bench-{os.getpid()}-"
        self.folder = tempfile.mkdtemp(prefix=self.prefix)

    def close(self) -> None:
        """Remove what is left of it: processes that end at once leave their names."""
        for path in Path("/dev/shm").glob(f"{self.prefix}*"):
            path.unlink()
        shutil.rmtree(self.folder)

    def _service(self) -> object:
        config = self.iox.config.default()
        config.global_cfg.prefix = self.iox.FileName.new(self.prefix)
        config.global_cfg.root_path = self.iox.Path.new(self.folder)
        self.node = self.iox.NodeBuilder.new().config(config).create(self.iox.ServiceType.Ipc)
        wanted = self.node.service_builder(self.iox.ServiceName.new("words"))
        words = wanted.publish_subscribe(self.iox.Slice[ctypes.c_uint64])
        limits = words.max_publishers(1).max_subscribers(self.consumers).enable_safe_overflow(False)
        return limits.subscriber_max_buffer_size(UNDER_WAY // self.block).open_or_create()

    def open_to_write(self) -> None:
        """Be the publisher, before any subscriber says it is ready."""
        self.service = self._service()
        ports = self.service.publisher_builder().initial_max_slice_len(self.block // 8)
        self.publisher = ports.backpressure_strategy(
            self.iox.BackpressureStrategy.RetryUntilDelivered
        ).create()

    def fill(self, pos: int, into: Callable[[np.ndarray], object]) -> None:
        """Fill a sample of the publisher's memory and send it; waits for the slowest subscriber."""
        sample = self.publisher.loan_slice_uninit(self.block // 8)
        into(_words_at(sample.payload_ptr, self.block // 8))
        sample.assume_init().send()

    def blocks(self, i: int, ready: Callable[[], object]) -> Iterator[np.ndarray]:
        """Yield each sample; what was yielded is given back."""
        self.service = self._service()
        subscriber = self.service.subscriber_builder().create()
        ready()
        for _ in range(0, self.total, self.block):
            while (sample := subscriber.receive()) is None:
                os.sched_yield()
            yield _words_at(sample.payload_ptr, self.block // 8)
            sample.delete()


def _words_at(address: int, n: int) -> np.ndarray:
    return np.frombuffer((ctypes.c_uint64 * n).from_address(address), np.uint64)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(a) for a in sys.argv[3:6]))
