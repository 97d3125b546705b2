"""System calls between descriptors and ring memory: source -> ring, ring -> file, ring -> pipe.

Loops without the GIL, without allocation and without policy. What a loop may do, and when it ends, its
caller has said before; what happened, it returns.
"""

import os

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from posix.fcntl cimport O_CLOEXEC, O_NONBLOCK, O_WRONLY, fcntl, open
from posix.time cimport timespec
from posix.unistd cimport close, fsync, pwrite, read, write

from fastcap._ring cimport (
    FC_DROP, FC_ENDED, FC_READING, FC_SPLITTER, FC_STORE,
    Ring, Slot, fc_advance, fc_control, fc_drop_add, fc_drop_at, fc_drop_begin, fc_grow, fc_load, fc_load32, fc_map,
    fc_mapped, fc_may_grow, fc_notify, fc_now_ns, fc_offset, fc_publish_head, fc_recover_head, fc_room, fc_store,
    fc_still_valid, fc_store32, fc_store_limit, fc_wait_for_room,
    fc_whole_below, fc_words_at,
)

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int POLLIN
    int POLLOUT
    int poll(pollfd *fds, unsigned long n, int timeout_ms)
    int ppoll(pollfd *fds, unsigned long n, const timespec *timeout, const void *sigmask)

cdef extern from "fcntl.h" nogil:
    int F_SETPIPE_SZ
    int F_GETPIPE_SZ

cdef extern from "sys/socket.h" nogil:
    int SOL_SOCKET
    int SO_SNDBUF
    int getsockopt(int fd, int level, int name, void *value, unsigned int *size)

cdef extern from "sys/ioctl.h" nogil:
    int FIONREAD
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "sys/mman.h" nogil:
    int MADV_POPULATE_WRITE
    int madvise(void *addr, size_t length, int advice)

cdef enum:
    MAX_READ = 1 << 19          # of one read(2): larger ones leave the cache before the splitter's consumers come
    MAX_PASS = 1 << 20          # of bytes that are only passed on: all that a large pipe holds
    SHORT_READ = 1 << 17        # below this the pipe was nearly empty: let bytes gather before the next wake-up
    SCRATCH = 1 << 18           # where dropped bytes go
    GATHER = 1 << 18            # no nap lets more than this gather in the pipe, nor a quarter of what it holds
    GATHER_ELSE = 1 << 10       # the same of what is no pipe and no socket: a terminal holds 4 KiB
    LONG_NAP_NS = 1000000
    SHORT_NAP_NS = 20000        # what going to sleep and waking costs
    POPULATE = 1 << 22          # first lap: memory is mapped ahead in such pieces
    LATE_NS = 5000000           # a read so long after the last one may find the pipe full
    PATIENCE_NS = 250000000     # a source that can wait has waited so long before the ring grows for it
    TICK_MS = 100
    MAX_WRITE = 1 << 18         # of one write(2) into a pipe
    OVERRUN_IN_C = -1

# Why read_stream() came back.
EOF, STOPPED, COMMAND, FAILED, CROWDED = "eof", "stopped", "command", "failed", "crowded"

OVERRUN = -1    # of write_stream(): no errno


def set_pipe_size(int fd, int wanted):
    """Enlarge the pipe behind ``fd`` as far as ``wanted`` and return its capacity in bytes; 0: not a pipe."""
    fcntl(fd, F_SETPIPE_SZ, wanted)
    cdef int got = fcntl(fd, F_GETPIPE_SZ)
    return got if got > 0 else 0


cdef class Reader:
    """The reader process's loop: a descriptor into the ring.

    One instance per process. `begin` or `resume`, then `run` until it reports an end.

    Parameters
    ----------
    ring : Ring
        Mapped writable; this process is its only reader.
    control_fd : int
        The socket to the supervisor; bytes on it (or its end) make `run` return.
    """

    cdef Ring ring
    cdef int control_fd
    cdef int fd
    cdef uint64_t recording, word, gather_ns, last_read_ns
    cdef uint64_t gather_most   # bytes, where the source is no pipe
    cdef uint64_t populated, populated_of   # offset in the mapping, and its span: another one begins anew
    cdef uint64_t full_ns       # when the pipe was last found full while waiting for room; 0: it was not
    cdef bint found_full        # by the read that came late
    cdef uint64_t empty_ns      # when the pipe was last seen empty, by a wait for it that was in vain
    cdef char[32] proc_name     # of `fd`, by which its other end can be opened
    cdef uint64_t waited_ns, stood_at  # for room in the small ring, since the head is where it is
    cdef bint asked             # for the whole ring to be made ready
    cdef bint can_wait
    cdef double rate            # bytes per nanosecond, moving average
    cdef double replay          # bytes per nanosecond to hold a file back to, 0: as fast as it goes
    cdef uint64_t replay_from_ns, replayed
    cdef uint8_t *scratch
    cdef int failure

    def __cinit__(self, Ring ring, int control_fd):
        self.ring = ring
        self.control_fd = control_fd
        self.scratch = <uint8_t *>malloc(SCRATCH)
        if self.scratch == NULL:
            raise MemoryError("no memory for the reader's scratch buffer")

    def __dealloc__(self):
        free(self.scratch)

    def _source(self, int fd, uint64_t recording, uint64_t word, bint can_wait, double gather_s, double replay_bytes_per_s):
        self.fd = fd
        snprintf(self.proc_name, sizeof(self.proc_name), "/proc/self/fd/%d", fd)
        self.recording = recording
        self.word = word
        self.can_wait = can_wait
        self.gather_ns = <uint64_t>(gather_s * 1e9)
        self.replay = replay_bytes_per_s * 1e-9
        self.rate = 0.0
        self.failure = 0
        self.replayed = 0
        self.last_read_ns = self.empty_ns = self.replay_from_ns = fc_now_ns()
        self.full_ns = 0
        self.found_full = False
        self.gather_most = self._may_gather()

    cdef uint64_t _may_gather(self) noexcept nogil:
        """Return how much may gather in a source that is no pipe, so that it is far from full.

        A socket holds what its sender's buffer allows, which is not to be known here; by default both have the same.
        It counts whole pages and headers in that, so small writes fill it with half the bytes or less.
        """
        cdef int held = 0
        cdef unsigned int size = sizeof(held)
        if getsockopt(self.fd, SOL_SOCKET, SO_SNDBUF, &held, &size) or held <= 0:
            return GATHER_ELSE
        return held // 8

    def begin(self, int fd, uint64_t recording, *, uint64_t word_bytes, bint can_wait, double gather_s=0.001,
              double replay_bytes_per_s=0.0, uint64_t pipe_bytes=0):
        """Start a recording at the next 4096-aligned position and publish that."""
        cdef fc_control *c = self.ring.c
        self._source(fd, recording, word_bytes, can_wait, gather_s, replay_bytes_per_s)
        cdef uint64_t start = (fc_load(&c.head) + 4095) & ~<uint64_t>4095
        fc_store32(&c.mode, FC_STORE)
        c.first_ns = c.last_ns = c.pipe_full_ns = c.reads = c.quiet_ns = 0
        c.pipe_bytes = pipe_bytes
        c.rec_start = start
        fc_store(&c.head, start)
        fc_store32(&c.rec_state, FC_READING)
        fc_store(&c.rec_id, recording)
        fc_notify(c, FC_SPLITTER)
        return start

    def resume(self, int fd, uint64_t recording, uint64_t taken, *, uint64_t word_bytes, bint can_wait,
               double gather_s=0.001, double replay_bytes_per_s=0.0):
        """Go on where a dead reader stopped: ``taken`` bytes were read in this recording by all before."""
        cdef fc_control *c = self.ring.c
        self._source(fd, recording, word_bytes, can_wait, gather_s, replay_bytes_per_s)
        fc_recover_head(c, taken)
        fc_notify(c, FC_SPLITTER)

    def run(self):
        """Read until the stream ends, the supervisor says stop, or a message waits. Returns (why, errno).

        CROWDED: this source can wait, but others wait for it, too; once the whole ring is ready, it is used.
        """
        cdef int why
        with nogil:
            why = self._loop()
        return (EOF, STOPPED, COMMAND, FAILED, CROWDED)[why], self.failure

    def end(self):
        """Publish that the recording is over; `head` stands at its end."""
        cdef fc_control *c = self.ring.c
        c.rec_end = fc_load(&c.head)
        fc_store32(&c.rec_state, FC_ENDED)
        fc_notify(c, FC_SPLITTER)

    cdef int _loop(self) noexcept nogil:
        cdef fc_control *c = self.ring.c
        cdef uint64_t head, room
        cdef int got
        while True:
            if fc_load(&c.stop_rec) >= self.recording:
                return 1
            if fc_may_grow(c) and self._grow():
                return 4
            if fc_load32(&c.mode) == FC_DROP:
                got = self._discard()
            else:
                head = fc_load(&c.head)
                room = self._whole(fc_store_limit(c))
                room = room - head if room > head else 0
                if room == 0:
                    if self.can_wait:
                        got = self._wait_for_room(head)
                    elif fc_drop_begin(c, self.recording, fc_now_ns()) == 0:
                        continue
                    else:
                        got = self._wait_for_room(head)     # drop log full: the pipe must hold
                else:
                    got = self._store(head, room)
            if got <= 0:
                if got == 0:
                    return 0
                if got == -1:
                    return 2
                return 3

    cdef uint64_t _whole(self, uint64_t limit) noexcept nogil:
        """Return up to where whole words lie below ``limit``: only there drops begin."""
        return fc_whole_below(limit, self.word, fc_words_at(self.ring.c, self.recording))

    cdef bint _grow(self) noexcept nogil:
        """Use the whole ring if this one is full or crowded; true: it is to be made ready first.

        A source that cannot wait takes what is ready, a piece at least: the rest is being made ready. One that can
        loses nothing by waiting until all is.
        """
        cdef fc_control *c = self.ring.c
        cdef uint64_t ready = fc_load(&c.ready)
        cdef uint64_t head = fc_load(&c.head)
        cdef bint full = self._whole(fc_store_limit(c)) <= head
        if not fc_load32(&c.crowded) and not (full and (not self.can_wait or self.waited_ns > PATIENCE_NS)):
            return False
        if ready < c.capacity and (self.can_wait or ready <= c.first):
            if self.asked:
                return False
            self.asked = True
            return True
        fc_grow(c)
        return False

    # Each step returns > 0: go on, 0: end of stream, -1: a message waits, -2: failed with self.failure.

    cdef int _ready(self) noexcept nogil:
        """Wait up to a tick for the source; 1: it can be read, 2: not yet, -1: a message waits, -2: failed."""
        cdef pollfd fds[2]
        cdef int rc
        cdef uint64_t since = fc_now_ns()
        fds[0].fd = self.fd
        fds[0].events = POLLIN
        fds[1].fd = self.control_fd
        fds[1].events = POLLIN
        rc = poll(fds, 2, TICK_MS)
        if rc < 0:
            if errno == EINTR:
                return 2
            self.failure = errno
            return -2
        if rc > 0 and fds[1].revents:
            return -1
        if rc == 0:
            self.empty_ns = fc_now_ns()
            # a wait that took longer than it was to take is no silence of the source: this process was stopped
            self.ring.c.quiet_ns += min(self.empty_ns - since, <uint64_t>(2 * TICK_MS * 1000000))
        return 1 if rc > 0 and fds[0].revents else 2

    cdef int _nap(self, uint64_t ns) noexcept nogil:
        """Let bytes gather; a message from the supervisor ends the nap."""
        cdef pollfd message
        cdef timespec t
        message.fd = self.control_fd
        message.events = POLLIN
        t.tv_sec = ns // 1000000000
        t.tv_nsec = ns % 1000000000
        return -1 if ppoll(&message, 1, &t, NULL) > 0 else 1

    cdef int _wait_for_room(self, uint64_t head) noexcept nogil:
        """Sleep until memory is given up, the supervisor says something, or a moment is over."""
        cdef pollfd message
        cdef uint64_t since = fc_now_ns(), now
        # from the next multiple of a word on: where words begin elsewhere, that is a little more than is needed
        fc_wait_for_room(self.ring.c, (head + self.word - 1) & ~(self.word - 1), self.word, 20000000)
        now = fc_now_ns()
        self._watch_pipe(now)
        if head != self.stood_at:
            self.stood_at = head
            self.waited_ns = 0
        self.waited_ns += now - since
        message.fd = self.control_fd
        message.events = POLLIN
        return -1 if poll(&message, 1, 0) > 0 else 1

    cdef bint _is_full(self) noexcept nogil:
        """Whether a write into the pipe would have to wait.

        How much it holds does not tell: writes that are no whole pages leave them partly empty, up to half of it.
        So a writing end is opened for a moment. Where that is not allowed, seven eighths count as full.
        """
        cdef pollfd end
        cdef int waiting = 0
        if self.ring.c.pipe_bytes == 0:
            return False
        end.fd = open(self.proc_name, O_WRONLY | O_NONBLOCK | O_CLOEXEC)
        if end.fd < 0:
            return ioctl(self.fd, FIONREAD, &waiting) == 0 and self._is_nearly_full(waiting)
        end.events = POLLOUT
        waiting = poll(&end, 1, 0)
        close(end.fd)
        return waiting == 0

    cdef bint _is_nearly_full(self, uint64_t waiting) noexcept nogil:
        return waiting + self.ring.c.pipe_bytes // 8 >= self.ring.c.pipe_bytes

    cdef void _watch_pipe(self, uint64_t now) noexcept nogil:
        """Count for how long the pipe stands full while nothing is read from it."""
        if not self._is_full():
            self.full_ns = 0
            return
        if self.full_ns:
            self.ring.c.pipe_full_ns += now - self.full_ns
        self.full_ns = now

    cdef int _store(self, uint64_t head, uint64_t room) noexcept nogil:
        cdef fc_control *c = self.ring.c
        cdef int rc
        cdef ssize_t n
        cdef uint64_t now, nap
        rc = self._ready()
        if rc != 1:
            return 1 if rc == 2 else rc
        room = min(room, <uint64_t>(MAX_PASS if self.word == 1 else MAX_READ))
        if self.replay > 0:
            now = fc_now_ns()
            nap = <uint64_t>((now - self.replay_from_ns) * self.replay) & ~(self.word - 1)
            if nap <= self.replayed:
                return self._nap(1000000)
            if room > nap - self.replayed:
                room = nap - self.replayed
        self.found_full = fc_now_ns() - max(self.last_read_ns, self.empty_ns) > LATE_NS and self._is_full()
        n = read(self.fd, self._place(head, room), room)
        if n <= 0:
            return self._no_bytes(n)
        now = fc_now_ns()
        c.quiet_ns = 0
        self.replayed += n
        self._account(n, now)
        c.last_ns = now
        if c.first_ns == 0:
            c.first_ns = now
        c.reads += 1
        fc_publish_head(c, head + n)
        return self._gather(n) if <uint64_t>n < room and self.rate > 0 else 1

    cdef uint8_t *_place(self, uint64_t head, uint64_t room) noexcept nogil:
        """Return where ``room`` bytes from ``head`` on belong; in the first lap pages are mapped ahead."""
        cdef fc_map *to = fc_mapped(&self.ring.memory, self.ring.c)
        cdef uint64_t offset = fc_offset(to, head)
        if self.populated_of != to.span:
            self.populated_of = to.span
            self.populated = 0
        if self.populated < to.span and offset + room > self.populated:
            if offset > self.populated:
                self.populated = offset & ~<uint64_t>4095
            madvise(to.base + self.populated, min(<uint64_t>POPULATE, to.span - self.populated), MADV_POPULATE_WRITE)
            self.populated += POPULATE
        return to.base + offset

    cdef int _gather(self, uint64_t n) noexcept nogil:
        """After a read of ``n`` bytes that emptied the pipe: nap while more gather, if they come slowly enough.

        A source that can wait may find half its pipe full: it and the reader then change places less often.
        """
        cdef uint64_t pipe = self.ring.c.pipe_bytes
        cdef uint64_t most = min(<uint64_t>GATHER, pipe // 4 if pipe else self.gather_most)
        cdef uint64_t nap
        if pipe == 0 and n > most:
            return 1    # it comes faster than the average says: a nap now would find the source full
        if self.can_wait:
            most = max(most, pipe // 2)
        nap = min(<uint64_t>(most / self.rate), self.gather_ns)
        if self.can_wait and pipe and nap > SHORT_NAP_NS:
            return self._nap(nap)
        if nap > LONG_NAP_NS or (nap > 30000 and n < SHORT_READ):
            return self._nap(nap)
        return 1

    cdef int _no_bytes(self, ssize_t n) noexcept nogil:
        if n == 0:
            return 0
        if errno == EINTR or errno == EAGAIN:
            return 1
        self.failure = errno
        return -2

    cdef void _account(self, uint64_t n, uint64_t now) noexcept nogil:
        """Follow the rate, and count for how long a pipe found full must have stood so."""
        cdef fc_control *c = self.ring.c
        cdef uint64_t before = self.last_read_ns, since = now - before, filling
        cdef int left = 0
        if n >= MAX_READ or self.found_full:
            ioctl(self.fd, FIONREAD, &left)
        self.last_read_ns = now
        if self.full_ns:
            c.pipe_full_ns += now - self.full_ns
            self.full_ns = 0
        elif c.pipe_bytes and self.rate > 0 and (self.found_full or self._is_nearly_full(n + left)):
            filling = <uint64_t>((n + left) / self.rate)
            since = now - max(before, self.empty_ns)
            if since > filling:
                c.pipe_full_ns += since - filling
        elif since > 0:
            if self.rate == 0:
                self.rate = n / <double>since
            else:
                self.rate += (n / <double>since - self.rate) * 0.1

    cdef int _discard(self) noexcept nogil:
        """Read and drop, counting; back to storing with an eighth of the ring free and at a whole word."""
        cdef fc_control *c = self.ring.c
        cdef uint64_t head = fc_load(&c.head), limit = fc_store_limit(c), odd
        cdef uint64_t want = SCRATCH
        cdef ssize_t n
        cdef int rc
        odd = fc_drop_at(c, c.ndrops - 1).bytes % self.word
        if limit > head and limit - head >= fc_room(c) // 8:
            if odd == 0:
                fc_store32(&c.mode, FC_STORE)
                return 1
            want = self.word - odd
        rc = self._ready()
        if rc != 1:
            return 1 if rc == 2 else rc
        n = read(self.fd, self.scratch, want)
        if n <= 0:
            return self._no_bytes(n)
        fc_drop_add(c, n)
        c.quiet_ns = 0
        self.last_read_ns = c.last_ns = fc_now_ns()
        return 1


# ---- ring -> descriptor ----------------------------------------------------------------------------

def write_at(Slot slot, int fd, uint64_t pos, size_t n, uint64_t offset, uint64_t hold_until_ns=0):
    """``pwrite`` ring bytes to a file, timed. Returns (bytes written or -errno, start_ns, elapsed_ns).

    ``hold_until_ns`` is the stall injector's: the call takes at least until then, as a stalled disk's would.
    """
    cdef ssize_t done
    cdef uint64_t start = fc_now_ns(), end
    with nogil:
        fc_store(&slot.s.busy_since_ns, start)
        _hold(hold_until_ns)
        done = pwrite(fd, slot.ring.at(pos), n, offset)
        if done < 0:
            done = -errno
        end = fc_now_ns()
        fc_store(&slot.s.busy_since_ns, 0)
    return done, start, end - start


def sync(Slot slot, int fd, uint64_t hold_until_ns=0):
    """``fsync`` a file, timed. Returns (0 or -errno, start_ns, elapsed_ns)."""
    cdef int rc
    cdef uint64_t start = fc_now_ns(), end
    with nogil:
        fc_store(&slot.s.busy_since_ns, start)
        _hold(hold_until_ns)
        rc = fsync(fd)
        if rc < 0:
            rc = -errno
        end = fc_now_ns()
        fc_store(&slot.s.busy_since_ns, 0)
    return rc, start, end - start


def busy(Slot slot, bint begins):
    """Note that a call on the destination that others make begins now, or has ended. Returns now, ns."""
    cdef uint64_t now = fc_now_ns()
    fc_store(&slot.s.busy_since_ns, now if begins else 0)
    return now


cdef void _hold(uint64_t until_ns) noexcept nogil:
    cdef uint64_t now = fc_now_ns()
    cdef timespec t
    while now < until_ns:
        t.tv_sec = (until_ns - now) // 1000000000
        t.tv_nsec = (until_ns - now) % 1000000000
        ppoll(NULL, 0, &t, NULL)
        now = fc_now_ns()


def write_stream(Slot slot, int fd, uint64_t recording, uint64_t pos):
    """Copy the ring to a pipe or file from ``pos`` until the recording's end or a message from the supervisor.

    Returns (position reached, errno; 0: caught up at the end or a message waits). Blocks while the
    descriptor does. Bytes up to the position are out; the slot's cursor stands there. `OVERRUN` for errno: memory
    from the position on was given up before it was written, or while it was; what is out behind it is not the stream.
    """
    cdef int failure = 0
    with nogil:
        pos = _write_loop(slot, fd, recording, pos, &failure)
    return pos, failure


cdef uint64_t _write_loop(Slot slot, int fd, uint64_t recording, uint64_t pos, int *failure) noexcept nogil:
    cdef fc_control *c = slot.ring.c
    cdef uint32_t commands = fc_load32(&c.commands)
    cdef uint64_t framed, n, events
    cdef ssize_t done
    cdef pollfd out
    while True:
        events = fc_load(&c.events)
        if fc_load(&c.ended_rec) >= recording and fc_load(&c.framed) <= pos:
            return pos
        if fc_load32(&c.commands) != commands:
            return pos
        framed = slot.wait_framed(pos + 1, events, 100000000)
        if framed <= pos:
            continue
        n = framed - pos
        if not fc_still_valid(c, pos):
            failure[0] = OVERRUN_IN_C
            return pos
        done = write(fd, slot.ring.at(pos), min(n, <uint64_t>MAX_WRITE))
        if done > 0 and not fc_still_valid(c, pos):
            failure[0] = OVERRUN_IN_C
            return pos
        if done >= 0:
            pos += done
            fc_advance(c, slot.s, pos)
        elif errno == EAGAIN:
            out.fd = fd
            out.events = POLLOUT
            poll(&out, 1, TICK_MS)
        elif errno != EINTR:
            failure[0] = errno
            return pos
