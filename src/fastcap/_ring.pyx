"""The ring as Python objects: mapping, checks on attach, slots, and views that cannot go stale unnoticed.

The protocol is in _ring.h and docs/ring.md. A ring is three files in one 0700 directory on tmpfs:
``control`` (the shared words, one page per consumer slot), ``data`` (mapped twice in a row: _map.h) and
``events`` (see `fastcap.events`). Descriptors travel; names do not.
"""

import os
import stat

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from posix.fcntl cimport posix_fallocate
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, madvise, mmap, munmap

from fastcap.errors import RingError

cdef extern from "sys/mman.h":
    int MADV_POPULATE_WRITE

cdef extern from "_bus.h":
    void fc_bus_watch(void *at, uint64_t nbytes)
    void fc_bus_forget(void *at)

PAGE = 4096
MIN_RING_BYTES = 1 << 20
LEAST_FIRST = 1 << 16       # a guard of several pages: room begins and ends at pages until the ring has grown
LOG_BYTES = 1 << 20         # of the event log, allocated from the start: the largest header and thousands of gaps
SLOTS = FC_SLOTS
LOSSLESS = FC_LOSSLESS
ESSENTIAL = FC_ESSENTIAL
STATES = ("FREE", "WANT", "ACTIVE", "LEAVING")
cdef uint64_t TICK_NS = 100_000_000     # signals and time-outs are looked at this often


def now_ns():
    """Return CLOCK_MONOTONIC in nanoseconds."""
    return fc_now_ns()


def _checked_size(int fd, str name):
    """Return the size of a ring's file after checking that only this user can have made or opened it."""
    st = os.fstat(fd)
    if not stat.S_ISREG(st.st_mode) or st.st_uid != os.geteuid() or st.st_mode & 0o077:
        raise RingError(
            f"ring file '{name}' is not private to uid {os.geteuid()} (owner {st.st_uid}, mode "
            f"{st.st_mode & 0o7777:04o}); refusing to attach: remove the session folder"
        )
    if st.st_nlink > 1:
        raise RingError(f"ring file '{name}' has {st.st_nlink} links; refusing to attach")
    return st.st_size


cdef class Ring:
    """A mapped ring. Close it when done; memory stays mapped while views of it are alive."""

    def __cinit__(self):
        self.c = NULL
        self.control_fd = self.data_fd = self.events_fd = -1

    @staticmethod
    def create(int dir_fd, capacity, *, first=None):
        """Make the ring's files in the directory ``dir_fd`` and map them.

        Parameters
        ----------
        dir_fd : int
            Directory on tmpfs, private to this user.
        capacity : int
            Bytes of data, a multiple of 4096, at least 1 MiB. Nothing is allocated yet: see `allocate`.
        first : int, optional
            Bytes that are used before consumers fall behind, a multiple of 4096, at least 64 KiB. Default: all.

        Raises
        ------
        RingError
            Bad capacity, or the files are already there.
        """
        if capacity < MIN_RING_BYTES or capacity % PAGE:
            raise RingError(f"ring of {capacity} bytes: must be a multiple of 4096 and at least 1 MiB")
        first = capacity if first is None else first
        if not LEAST_FIRST <= first <= capacity or first % PAGE:
            raise RingError(f"first {first} bytes of a ring of {capacity}: must be a multiple of 4096, from 64 KiB on")
        cdef uint64_t control_bytes = fc_control_bytes() + FC_SLOTS * PAGE
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fds = []
        try:
            for name in ("control", "data", "events"):
                fds.append(os.open(name, flags, 0o600, dir_fd=dir_fd))
            os.posix_fallocate(fds[0], 0, control_bytes)
            os.ftruncate(fds[1], capacity)
            os.posix_fallocate(fds[2], 0, LOG_BYTES)
        except OSError as e:
            for fd in fds:
                os.close(fd)
            raise RingError(f"cannot make the ring's files: {e.strerror}") from e
        cdef Ring ring = Ring.__new__(Ring)
        ring._map_control(fds, True, control_bytes, capacity)
        ring.c.layout = FC_LAYOUT
        ring.c.slots = FC_SLOTS
        ring.c.capacity = capacity
        ring.c.first = first
        ring.c.grown = FC_NEVER
        ring.c.created_ns = fc_now_ns()
        cdef uint32_t i
        for i in range(FC_SLOTS):
            fc_store(&fc_slot_at(ring.c, i).want, FC_NEVER)
        ring._map_data()
        fc_store(&ring.c.magic, FC_MAGIC)
        return ring

    @staticmethod
    def attach(int control_fd, int data_fd, int events_fd, *, bint writable=False):
        """Map a ring that somebody else made, from descriptors (which are taken over).

        Raises
        ------
        RingError
            Owner, mode, link count, size, magic or layout version do not fit. The descriptors are closed.
        """
        cdef Ring ring = Ring.__new__(Ring)
        fds = [control_fd, data_fd, events_fd]
        cdef uint64_t control_bytes = fc_control_bytes() + FC_SLOTS * PAGE
        try:
            sizes = [_checked_size(fd, n) for fd, n in zip(fds, ("control", "data", "events"))]
            if sizes[0] != control_bytes or sizes[1] < MIN_RING_BYTES or sizes[1] % PAGE:
                raise RingError(f"ring files of {sizes[0]} and {sizes[1]} bytes are not a ring of this version")
        except RingError:
            for fd in fds:
                os.close(fd)
            raise
        ring._map_control(fds, writable, control_bytes, sizes[1])
        fits = fc_load(&ring.c.magic) == FC_MAGIC and ring.c.layout == FC_LAYOUT and ring.c.capacity == ring.capacity
        if not fits or not LEAST_FIRST <= ring.c.first <= ring.capacity or ring.c.first % PAGE:
            ring.close()
            raise RingError(
                f"not a ring of this version (magic {fc_load(&ring.c.magic):#x}, layout {ring.c.layout}, capacity "
                f"{ring.c.capacity}; this is layout {FC_LAYOUT}): use the fastcap that made it"
            )
        ring._map_data()
        return ring

    def _map_control(self, fds, bint writable, uint64_t control_bytes, uint64_t capacity):
        self.control_fd, self.data_fd, self.events_fd = fds
        self.capacity = capacity
        self.writable = writable
        cdef void *control = mmap(NULL, control_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, self.control_fd, 0)
        if control == MAP_FAILED:
            raise RingError("cannot map the ring's control pages")
        self.c = <fc_control *>control
        fc_bus_watch(control, control_bytes)

    def _map_data(self):
        cdef int prot = PROT_READ | (PROT_WRITE if self.writable else 0)
        if fc_map_open(&self.memory, self.c, self.data_fd, prot):
            raise RingError(f"cannot map {2 * self.capacity} bytes of ring memory: {os.strerror(errno)}")
        fc_bus_watch(self.memory.small.base, 2 * self.memory.small.span)
        fc_bus_watch(self.memory.large.base, 2 * self.memory.large.span)

    def __dealloc__(self):
        fc_bus_forget(self.memory.small.base)
        fc_bus_forget(self.memory.large.base)
        fc_map_close(&self.memory)
        if self.c != NULL:
            fc_bus_forget(self.c)
            munmap(self.c, fc_control_bytes() + FC_SLOTS * 4096)

    def close(self):
        """Close the descriptors. The memory is unmapped when the last view of it is gone."""
        for fd in (self.control_fd, self.data_fd, self.events_fd):
            if fd >= 0:
                os.close(fd)
        self.control_fd = self.data_fd = self.events_fd = -1

    def truncated(self):
        """Return the name of a file that somebody made shorter than it must be, or None. Touches no lost memory."""
        cdef uint64_t control_bytes = fc_control_bytes() + FC_SLOTS * PAGE
        if os.fstat(self.control_fd).st_size < control_bytes:
            return "control"
        if os.fstat(self.data_fd).st_size < self.capacity:
            return "data"
        committed = fc_load(&self.c.events)
        return "events" if os.fstat(self.events_fd).st_size < committed else None

    cdef uint8_t *at(self, uint64_t pos) noexcept nogil:
        return fc_at(&self.memory, self.c, pos)

    def allocate(self, uint64_t upto):
        """Allocate and prefault the data up to ``upto`` bytes and publish it as ready. Blocks; no GIL.

        Raises
        ------
        RingError
            The file system has no room. What was ready before stays usable.
        """
        cdef uint64_t at = fc_load(&self.c.ready)
        cdef int rc = 0
        cdef void *piece
        upto = min(upto, self.capacity)
        if upto <= at:
            return
        with nogil:
            rc = posix_fallocate(self.data_fd, at, upto - at)
            while rc == EINTR:  # a stop, a freeze, a debugger: not restarted by the kernel
                rc = posix_fallocate(self.data_fd, at, upto - at)
            if rc == 0:
                piece = mmap(NULL, upto - at, PROT_READ | PROT_WRITE, MAP_SHARED, self.data_fd, at)
                if piece != MAP_FAILED:
                    madvise(piece, upto - at, MADV_POPULATE_WRITE)
                    munmap(piece, upto - at)
                fc_store(&self.c.ready, upto)
                fc_notify(self.c, FC_READER)
        if rc:
            raise RingError(f"cannot allocate {upto} bytes of ring memory: {os.strerror(rc)}; free some or use a smaller --ring")

    # -- the words, as anybody may look at them -------------------------------------------------

    @property
    def head(self):
        """Bytes below it have arrived."""
        return fc_load(&self.c.head)

    @property
    def framed(self):
        """Consumers may read up to here; events below it are visible."""
        return fc_load(&self.c.framed)

    @property
    def tail(self):
        """Memory below it may have been reused."""
        return fc_load(&self.c.tail)

    @property
    def events(self):
        """Committed bytes of the event log: load it after `framed`."""
        return fc_load(&self.c.events)

    @property
    def events_from(self):
        """Where the event log begins: load it after reading, for what lies below it is given up."""
        return fc_events_from(self.c)

    @property
    def ready(self):
        """Bytes of the data that are allocated and prefaulted."""
        return fc_load(&self.c.ready)

    @property
    def first(self):
        """Bytes of the data that are used before the ring has grown."""
        return self.c.first

    @property
    def room(self):
        """Bytes of the data that are in use: `first`, or once it has grown the capacity."""
        return fc_room(self.c)

    @property
    def ended_recording(self):
        """The last recording whose END event is committed."""
        return fc_load(&self.c.ended_rec)

    @property
    def high_water(self):
        """Peak of bytes held for lossless consumers."""
        return fc_load(&self.c.high_water)

    def reader_state(self):
        """Return the reader's words of the recording under way, or of the last one, as a dict."""
        cdef uint64_t n = fc_load(&self.c.ndrops)
        cdef fc_drop *last = fc_drop_at(self.c, n - 1) if n else NULL
        dropped = 0
        if n and last.recording == fc_load(&self.c.rec_id):
            dropped = last.before + fc_load(&last.bytes)
        return {
            "dropped_bytes": dropped,
            "recording": fc_load(&self.c.rec_id), "state": fc_load32(&self.c.rec_state),
            "start": fc_load(&self.c.rec_start), "end": fc_load(&self.c.rec_end),
            "dropping": fc_load32(&self.c.mode) == FC_DROP, "drops": fc_load(&self.c.ndrops),
            "first_ns": fc_load(&self.c.first_ns), "last_ns": fc_load(&self.c.last_ns),
            "quiet_ns": fc_load(&self.c.quiet_ns), "pipe_full_ns": fc_load(&self.c.pipe_full_ns), "pipe_bytes": fc_load(&self.c.pipe_bytes),
            "reads": fc_load(&self.c.reads),
        }

    def drop(self, uint64_t n):
        """Return drop entry ``n`` as (position, bytes, recording, at_ns)."""
        cdef fc_drop *d = fc_drop_at(self.c, n)
        return d.position, fc_load(&d.bytes), d.recording, d.at_ns

    def slot_state(self, uint32_t i):
        """Return slot ``i`` as a dict, for reports and for people."""
        if i >= FC_SLOTS:
            raise ValueError(f"slot {i}: there are {FC_SLOTS}")
        cdef fc_slot *s = fc_slot_at(self.c, i)
        cdef uint32_t state = fc_load32(&s.state)
        return {
            "state": STATES[state & 3], "flags": state >> 8 & 3, "lossless": bool(fc_load32(&s.lossless)),
            "cursor": fc_load(&s.cursor), "spilled": fc_load(&s.spilled), "high_water": fc_load(&s.high_water),
            "overrun_bytes": fc_load(&s.overrun_bytes), "busy_since_ns": fc_load(&s.busy_since_ns),
            "owner_pid": fc_slot_owner(state),
        }

    def command(self):
        """Say that a message was sent to a worker: those asleep on the ring look at their sockets. Supervisor only."""
        fc_store32(&self.c.commands, self.c.commands + 1)
        fc_notify(self.c, FC_READER | FC_SPLITTER)
        fc_notify_slots(self.c, FC_NEVER - 1)

    def stop_reading(self, uint64_t recording):
        """Tell the reader to end recordings up to ``recording``. Supervisor only."""
        fc_store(&self.c.stop_rec, recording)
        self.command()

    def bytes_at(self, uint64_t pos, size_t n):
        """Return a copy of ``n`` bytes at ``pos``. No check: use `Slot.still_valid` afterwards."""
        if n > fc_room(self.c):
            raise ValueError(f"{n} bytes do not fit a ring of {fc_room(self.c)}")
        return (<char *>self.at(pos))[:n]


cdef class View:
    """Read-only bytes of ring memory, by the buffer protocol. Knows whether anything still refers to them."""

    cdef Ring ring
    cdef readonly uint64_t position
    cdef readonly size_t nbytes
    cdef readonly int exports

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("ring memory is read-only for consumers")
        PyBuffer_FillInfo(buffer, self, self.ring.at(self.position), self.nbytes, 1, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1


cdef class Slot:
    """One consumer's place in the ring.

    Made by `claim` (waits for the splitter's grant) or `adopt` (a replaced worker goes on at the slot's
    cursor). All positions are absolute byte counts.
    """

    @staticmethod
    def claim(Ring ring, uint32_t flags=FC_LOSSLESS, *, double timeout_s=10.0):
        """Take a free slot and wait until the splitter grants it.

        Parameters
        ----------
        flags : int
            ``LOSSLESS`` holds memory back until the cursor has passed it; ``ESSENTIAL`` may cause drops.

        Raises
        ------
        RingError
            No slot is free, or no splitter answered in ``timeout_s``.
        """
        cdef uint32_t i
        for i in range(FC_SLOTS):
            if fc_slot_claim(fc_slot_at(ring.c, i), flags, os.getpid()):
                break
        else:
            raise RingError(f"all {FC_SLOTS} consumer slots of this ring are taken; detach one")
        cdef Slot slot = Slot.adopt(ring, i)
        cdef uint64_t until = fc_now_ns() + <uint64_t>(timeout_s * 1e9)
        cdef uint32_t seen
        fc_notify(ring.c, FC_SPLITTER)
        while True:
            seen = fc_load32(&ring.c.seq)
            if fc_load32(&slot.s.state) & 3 == FC_ACTIVE:
                return slot
            if fc_now_ns() > until:
                slot.leave()
                raise RingError(f"no splitter granted a consumer slot within {timeout_s} s")
            with nogil:
                fc_sleep_slot(ring.c, i, FC_NEVER - 1, seen, 20_000_000)
            PyErr_CheckSignals()

    @staticmethod
    def adopt(Ring ring, uint32_t index):
        """Go on with slot ``index`` as it stands: its last owner is known to be gone."""
        if index >= FC_SLOTS:
            raise ValueError(f"slot {index}: there are {FC_SLOTS}")
        cdef Slot slot = Slot.__new__(Slot)
        slot.ring = ring
        slot.index = index
        slot.s = fc_slot_at(ring.c, index)
        fc_slot_adopt(slot.s, os.getpid())
        return slot

    @property
    def cursor(self):
        """Position below which this consumer is done."""
        return fc_load(&self.s.cursor)

    @property
    def lossless(self):
        """Whether memory is still held back for this consumer."""
        return bool(fc_load32(&self.s.lossless))

    cdef uint64_t wait_framed(self, uint64_t target, uint64_t events, uint64_t timeout_ns) noexcept nogil:
        cdef fc_control *c = self.ring.c
        cdef uint32_t seen, commands = fc_load32(&c.commands)
        cdef uint64_t until = fc_now_ns() + timeout_ns, framed, now
        while True:
            seen = fc_load32(&c.seq)
            framed = fc_readable(c)
            now = fc_now_ns()
            if framed >= target or now >= until or fc_load(&c.events) != events or fc_load32(&c.commands) != commands:
                return framed
            fc_sleep_slot(c, self.index, target, seen, until - now)

    def wait(self, uint64_t target, uint64_t events, double timeout_s=0.1):
        """Sleep (no GIL, at most 100 ms) until there is something to do; return `framed`.

        That is: ``framed`` reaches ``target``, the event log is longer than the ``events`` bytes the caller
        has seen, the supervisor sent a message, or the time is over. Looks at signals before it returns.
        """
        cdef uint64_t framed, step = min(<uint64_t>(timeout_s * 1e9), TICK_NS)
        with nogil:
            framed = self.wait_framed(target, events, step)
        PyErr_CheckSignals()
        return framed

    def view(self, uint64_t pos, size_t n):
        """Return a `View` of ``n`` bytes at ``pos``. They must be readable: ``pos + n <= framed``."""
        cdef uint64_t framed = fc_readable(self.ring.c)
        if n > fc_room(self.ring.c) or n > framed or pos > framed - n:
            raise ValueError(f"{n} bytes at {pos} are not readable (framed {framed})")
        cdef View v = View.__new__(View)
        v.ring = self.ring
        v.position = pos
        v.nbytes = n
        return v

    def still_valid(self, uint64_t pos):
        """Tell whether memory from ``pos`` on had not been given up when this was called: ask after use."""
        return bool(fc_still_valid(self.ring.c, pos))

    def advance(self, uint64_t pos):
        """Say that everything below ``pos`` is done with."""
        fc_advance(self.ring.c, self.s, pos)

    def missed(self, uint64_t n):
        """Count ``n`` bytes that this consumer was passed by."""
        fc_store(&self.s.overrun_bytes, fc_peek(&self.s.overrun_bytes) + n)

    def leave(self):
        """Give the slot back; the splitter frees it."""
        if fc_load32(&self.s.state) & 3 == FC_ACTIVE or fc_load32(&self.s.state) & 3 == FC_WANT:
            fc_store32(&self.s.state, FC_LEAVING)
            fc_notify(self.ring.c, FC_SPLITTER)
