# cython: cdivision=True
"""The emulated board's loop: make words at their time, keep them in a FIFO, write them out.

No policy here: what to emulate, faults and reports are in `fastcap.sim.board`. Which words exist is a pure
function of their index, so neither pacing nor the sizes of writes can change the stream.
"""

cimport cython
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport write

from fastcap.sim._optics cimport Change
from fastcap.sim._signal cimport Signal, mix, spread

cdef extern from *:
    """
    typedef unsigned __int128 fc_u128;
    """
    ctypedef unsigned long long fc_u128

cdef extern from "endian.h" nogil:
    uint64_t htole64(uint64_t)

cdef extern from "time.h" nogil:
    int TIMER_ABSTIME
    int clock_nanosleep(int clock, int flags, const timespec *until, timespec *left)

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    short POLLOUT
    int poll(pollfd *fds, unsigned long count, int timeout_ms)

cdef enum:
    GOES_ON, REACHED, ENDED
    OUT_WORDS = 32768       # 256 KiB: one write, and it stays in cache
    RUNS = 4096             # separate pieces the FIFO can hold between losses
    PIPE_ATOMIC = 4096      # PIPE_BUF: what a ready pipe takes without blocking
    NS = 1000000000
    TICK_NS = 250000        # a word waits at most this long for its write

RUNNING, AT_LIMIT, DONE = GOES_ON, REACHED, ENDED  # what Board.run returns


cdef struct Run:            # consecutive words
    uint64_t first
    uint64_t count


cdef int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * NS + now.tv_nsec


@cython.final
cdef class Board:
    """The board, its FIFO and its program's output.

    Parameters
    ----------
    fd : int
        Where to write; not closed.
    header : bytes
        Written first.
    rate : (int, int)
        Words per nanosecond as a fraction; (0, 1): as fast as they are taken, without clock and without loss.
    total_words : int
        Words to write, then done.
    fifo_words : int
        Words the board can hold that were not yet written; what comes then is lost.
    polled : bool
        Whether ``fd`` must be polled before each write, which is then small: for a pipe that blocks.
    chunk_bytes, chunk_seed : int
        Largest write; with a seed, writes of a random size up to it.
    losses : list of (int, int)
        First word and count of words that the board loses unannounced, in ascending order.
    signal : Signal or None
        What the words hold; None makes word k be k.
    """

    cdef int fd
    cdef bint polled, realtime, counter, tied, finished, ends_cut
    cdef fc_u128 rate_num, rate_den
    cdef uint64_t total, fifo_words, header_bytes, chunk_bytes, chunk_seed, cut_bytes
    cdef Signal signal
    cdef Run *runs
    cdef uint64_t runs_first, runs_count
    cdef Run *losses
    cdef uint64_t losses_next, losses_count
    cdef unsigned char *out
    cdef uint64_t out_at, out_end
    cdef readonly uint64_t made, accepted, written, lost_overflow, lost_fault, bytes_written, fifo_high_water
    cdef readonly uint64_t bytes_slipped
    cdef readonly int64_t started_ns
    cdef int64_t refill_ns

    def __cinit__(self, int fd, bytes header, rate, uint64_t total_words, uint64_t fifo_words, bint polled,
                  uint64_t chunk_bytes, uint64_t chunk_seed, list losses, Signal signal):
        self.fd, self.polled = fd, polled
        self.rate_num, self.rate_den = rate
        self.realtime = self.rate_num != 0
        self.total, self.cut_bytes = total_words, 8
        self.fifo_words = fifo_words if self.realtime else OUT_WORDS * 2
        self.chunk_bytes, self.chunk_seed = chunk_bytes, chunk_seed
        self.header_bytes = self.out_end = len(header)
        self.losses_count = len(losses)
        self.runs = <Run *>malloc(RUNS * sizeof(Run))
        self.losses = <Run *>malloc((self.losses_count + 1) * sizeof(Run))
        self.out = <unsigned char *>malloc(max(OUT_WORDS * 8, self.header_bytes))
        if not self.runs or not self.losses or not self.out:
            raise MemoryError("no memory for the emulated board's buffers")
        memcpy(self.out, <const char *>header, self.header_bytes)
        for k, (first, count) in enumerate(losses):
            self.losses[k].first, self.losses[k].count = first, count
        self.counter = signal is None
        self.signal = signal
        self.tied = signal is not None and signal.optics is not None
        self.started_ns = monotonic_ns()

    def __dealloc__(self):
        free(self.runs)
        free(self.losses)
        free(self.out)

    def cut(self, uint64_t count):
        """Write only ``count`` bytes of the next word, then be done."""
        self.cut_bytes, self.ends_cut = count, True

    def slip(self, uint64_t count):
        """Lose the last ``count`` bytes of the next word: what follows does so at once."""
        self.cut_bytes, self.ends_cut = 8 - count, False

    def run(self, uint64_t limit, int64_t slice_ns):
        """Make and write words below ``limit`` for at most about ``slice_ns``; ends early on a signal.

        Returns
        -------
        int
            RUNNING, AT_LIMIT (all words below ``limit`` are written) or DONE.

        Raises
        ------
        OSError
            A write failed. What was written before is counted.
        """
        cdef int status
        with nogil:
            status = self.loop(limit, monotonic_ns() + slice_ns)
        if status < 0:
            raise OSError(-status, "emulated board cannot write its output")
        return status

    cdef int loop(self, uint64_t limit, int64_t end_ns) noexcept nogil:
        cdef int64_t now = monotonic_ns()
        cdef int error
        while now < end_ns:
            if self.tied:
                self.follow()
            if self.realtime:
                self.make(self.made_at(now))
            elif not self.runs_count:
                self.make(self.made + OUT_WORDS)
            if self.out_at == self.out_end:
                if self.finished or self.written == self.total and self.made < limit:
                    return ENDED
                if (self.runs[self.runs_first].first if self.runs_count else self.made) >= limit:
                    return REACHED
                # Without backlog one write per tick: fewer would be late, more would cost.
                if now >= self.refill_ns or self.runs_count > 1 or self.accepted - self.written >= OUT_WORDS:
                    self.refill(limit)
                    self.refill_ns = now + TICK_NS if self.realtime else 0
            if self.out_at < self.out_end:
                error = self.flush(end_ns - now)
                if error == EINTR:
                    break
                if error:
                    return -error
            elif self.realtime and not self.finished and not self.sleep(end_ns):
                break
            now = monotonic_ns()
        if self.realtime:
            self.make(self.made_at(monotonic_ns()))
        return GOES_ON

    cdef void follow(self) noexcept nogil:
        """Let the light change at the word that is made when the device changed it, if that is still to come.

        Words in the FIFO are numbers only; so a change finds its word however late it is heard of.
        """
        cdef uint64_t first, fresh = self.runs[self.runs_first].first if self.runs_count else self.made
        cdef Change change
        while self.signal.optics.next(&change):
            first = self.made_at(max(change.at_ns, self.started_ns)) if self.realtime else fresh
            self.signal.follow(max(first, fresh), change.scale, change.shift_turns)

    cdef uint64_t made_at(self, int64_t now) noexcept nogil:
        return <uint64_t>(<fc_u128>(now - self.started_ns) * self.rate_num // self.rate_den)

    cdef bint sleep(self, int64_t end_ns) noexcept nogil:
        """Sleep until the next tick, or until the next word is due if that is later; False on a signal."""
        cdef fc_u128 due = ((<fc_u128>self.made + 1) * self.rate_den + self.rate_num - 1) // self.rate_num
        cdef int64_t until = end_ns
        cdef timespec at
        if due < <fc_u128>(end_ns - self.started_ns):
            until = min(end_ns, max(self.refill_ns, self.started_ns + <int64_t>due))
        at.tv_sec, at.tv_nsec = until // NS, until % NS
        return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == 0

    cdef void make(self, uint64_t target) noexcept nogil:
        """Make the words below ``target``: into the FIFO, or lost. Stops where the program has all it wants."""
        cdef uint64_t count, take
        cdef Run *loss
        while self.made < target and self.accepted < self.total:
            count = target - self.made
            if self.losses_next < self.losses_count:
                loss = &self.losses[self.losses_next]
                if self.made >= loss.first + loss.count:
                    self.losses_next += 1
                    continue
                if self.made >= loss.first:
                    count = min(count, loss.first + loss.count - self.made)
                    self.lost_fault += count
                    self.made += count
                    continue
                count = min(count, loss.first - self.made)
            take = min(count, self.fifo_words - (self.accepted - self.written), self.total - self.accepted)
            take = self.push(take)
            if self.accepted == self.total:
                return
            self.lost_overflow += count - take
            self.made += count - take

    cdef uint64_t push(self, uint64_t count) noexcept nogil:
        """Put the next ``count`` words into the FIFO; return how many it took."""
        cdef Run *last = &self.runs[(self.runs_first + self.runs_count - 1) % RUNS]
        if not count:
            return 0
        if self.runs_count and last.first + last.count == self.made:
            last.count += count
        elif self.runs_count == RUNS:
            return 0
        else:
            last = &self.runs[(self.runs_first + self.runs_count) % RUNS]
            last.first, last.count = self.made, count
            self.runs_count += 1
        self.made += count
        self.accepted += count
        self.fifo_high_water = max(self.fifo_high_water, self.accepted - self.written)
        return count

    cdef void refill(self, uint64_t limit) noexcept nogil:
        """Generate what to write next: the FIFO's oldest words below ``limit``, or the cut word."""
        cdef Run *run = &self.runs[self.runs_first]
        cdef uint64_t *out = <uint64_t *>self.out
        cdef uint64_t count, j
        if not self.runs_count:
            return
        count = 1 if self.cut_bytes < 8 else min(min(run.count, limit - run.first), <uint64_t>OUT_WORDS)
        if self.counter:
            for j in range(count):
                out[j] = htole64(run.first + j)
        else:
            self.signal.fill(run.first, count, out)
        run.first += count
        run.count -= count
        if not run.count:
            self.runs_first = (self.runs_first + 1) % RUNS
            self.runs_count -= 1
        self.out_at, self.out_end = 0, count * 8
        if self.cut_bytes < 8:
            self.out_end, self.finished = self.cut_bytes, self.ends_cut
            if not self.finished:
                self.bytes_slipped += 8 - self.cut_bytes
                self.cut_bytes = 8

    cdef int flush(self, int64_t wait_ns) noexcept nogil:
        """Write once; if the output is full, wait until it is not. Return 0 or an errno."""
        cdef uint64_t size = self.chunk_bytes
        cdef pollfd ready
        cdef ssize_t got
        if self.chunk_seed:
            self.chunk_seed += spread(1)
            size = 1 + mix(self.chunk_seed) % size
        size = min(size, self.out_end - self.out_at)
        ready.fd, ready.events = self.fd, POLLOUT
        if self.polled:
            size = min(size, <uint64_t>PIPE_ATOMIC)
            got = poll(&ready, 1, <int>(wait_ns // 1000000 + 1))
            if got <= 0:
                return errno if got else 0
        got = write(self.fd, self.out + self.out_at, size)
        if got < 0:
            if errno != EAGAIN:
                return errno
            return errno if poll(&ready, 1, <int>(wait_ns // 1000000 + 1)) < 0 else 0
        self.out_at += got
        self.bytes_written += got
        if self.bytes_written > self.header_bytes:
            self.written = (self.bytes_written - self.header_bytes + self.bytes_slipped) // 8
        return 0
