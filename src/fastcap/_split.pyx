"""The splitter's inner loop: publish what has arrived, free what is done, come back for what needs thought.

Everything that happens per block is here, without the GIL; everything that happens per recording, per gap
or per consumer is in `fastcap.workers.splitter`, which this loop returns to with a reason.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastcap._ring cimport (
    FC_ACTIVE, FC_DROP, FC_ESSENTIAL, FC_FREE, FC_LEAVING, FC_LOSSLESS, FC_NEVER, FC_READING, FC_SLOTS,
    FC_SPLITTER, FC_WANT, Ring, fc_arrived, fc_commit_events, fc_control, fc_drop_at, fc_guard, fc_load, fc_load32,
    fc_may_grow,
    fc_notify, fc_notify_slots, fc_now_ns, fc_peek, fc_publish_events_from, fc_publish_framed, fc_publish_tail, fc_sleep, fc_slot,
    fc_room, fc_slot_at, fc_whole_below, fc_slot_done, fc_slot_grant, fc_store, fc_store32,
)

cdef extern from "fcntl.h" nogil:
    int fallocate(int fd, int mode, long long offset, long long nbytes)
    int FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE

cdef extern from "_align.h" nogil:
    const int FC_RUN, FC_RUN_BYTES, FC_UNKNOWN
    int fc_alignment(const uint8_t *data)

cdef enum:
    CLOSE_RUNS = 64             # that many of a recording's first are all looked at
    RUN_APART_BYTES = 1 << 18   # then one in so many bytes
    AGREE = 4                   # runs that make an alignment known

# Reasons to come back, as bits.
COMMAND, RECORDING, DROPS, LIMIT, SLOTS, DEMOTED, TICK, ALIGN = 1, 2, 4, 8, 16, 32, 64, 128
STEP_BYTES, UNKNOWN = RUN_APART_BYTES, FC_UNKNOWN
cdef enum:
    R_COMMAND = 1
    R_RECORDING = 2
    R_DROPS = 4
    R_LIMIT = 8
    R_SLOTS = 16
    R_DEMOTED = 32
    R_TICK = 64
    R_ALIGN = 128


cdef class SplitLoop:
    """The splitter's view of the ring. This process alone writes `framed`, `tail`, `events`, `drops_done`.

    Attributes
    ----------
    limit : int
        `framed` goes no further than this without the caller; reaching for more is a reason to come back.
    word_bytes : int
        `framed` stays a multiple of this until the end of a recording.
    keep_from : int
        `tail` goes no further than this: a header that is not whole yet is still needed.
    can_wait : bool
        The source can wait: then no consumer is made lossy for its sake.
    alignment : int
        At which byte of every eight words begin, from `watch` on; UNKNOWN until runs have agreed on it.
    seen_at : int
        Position up to which that was last seen.
    suspect_at : int
        Position up to which it was seen to be another; 0: it was not. The caller decides what that is.
    look_at : int
        Position at which the caller is to be asked about it, or at which the next run to look at ends.
    """

    cdef Ring ring
    cdef fc_control *c
    cdef public uint64_t limit
    cdef public uint64_t word_bytes
    cdef uint64_t phase                 # where in so many bytes words begin
    cdef public bint can_wait
    cdef public uint64_t keep_from      # memory from here on is still needed by the caller
    cdef public bint quiet_limit        # bytes beyond the limit are nobody's: do not report them
    cdef public bint hold               # the event log has no room for what DROPS, LIMIT, ALIGN ask for: `framed` waits there
    cdef uint32_t commands
    cdef uint64_t seen_recording
    cdef uint32_t seen_state
    # the arrival with the least lateness since the last take_sample()
    cdef public uint64_t clock_start    # position at which the clock's count begins
    cdef public uint64_t clock_lost     # bytes dropped since
    cdef public double clock_ns_per_byte
    cdef double best_late
    cdef uint64_t best_ns, best_bytes
    cdef public uint64_t look_at, seen_at, suspect_at
    cdef readonly int alignment
    cdef int candidate, agreed, runs

    def __cinit__(self, Ring ring):
        self.ring = ring
        self.c = ring.c
        self.limit = fc_load(&self.c.framed)
        self.keep_from = FC_NEVER
        self.quiet_limit = True
        self.word_bytes = 1
        self.best_late = -1
        self.look_at = FC_NEVER

    def run(self, uint64_t timeout_ns):
        """Work until a reason to come back; returns the reasons as bits (TICK: the time is over)."""
        cdef int why
        with nogil:
            why = self._run(timeout_ns)
        return why

    cdef int _run(self, uint64_t timeout_ns) noexcept nogil:
        cdef fc_control *c = self.c
        cdef uint64_t until = fc_now_ns() + timeout_ns, now
        cdef uint32_t seen
        cdef int why
        while True:
            seen = fc_load32(&c.seq)
            why = self._frame()
            why |= self._free()
            if fc_load32(&c.commands) != self.commands:
                self.commands = fc_load32(&c.commands)
                why |= R_COMMAND
            now = fc_now_ns()
            if now >= until:
                why |= R_TICK
            if why:
                return why
            fc_sleep(c, &c.sleepers_splitter, FC_SPLITTER, seen, until - now)

    cdef int _frame(self) noexcept nogil:
        """Move `framed` as far as neither a closed drop nor the limit stands in the way."""
        cdef fc_control *c = self.c
        cdef int why = 0
        cdef uint64_t top, done = fc_peek(&c.drops_done), position
        if fc_load(&c.rec_id) != self.seen_recording or fc_load32(&c.rec_state) != self.seen_state:
            self.seen_recording = fc_load(&c.rec_id)
            self.seen_state = fc_load32(&c.rec_state)
            why |= R_RECORDING
        top = fc_arrived(c)
        if fc_load(&c.ndrops) != done:
            position = fc_drop_at(c, done).position
            if top > position:
                top = position
                why |= R_DROPS
        top = fc_whole_below(top, self.word_bytes, self.phase)
        if top > self.limit:
            top = self.limit
            if not self.quiet_limit:
                why |= R_LIMIT
        if top > fc_peek(&c.framed):
            self._sample(top)
            fc_publish_framed(c, top)
            if top >= self.look_at:
                why |= self._look(top)
        return why & R_RECORDING if self.hold else why

    cdef int _look(self, uint64_t top) noexcept nogil:
        """Look at the runs that are due below ``top``. Memory from `tail` on stays: this process moves it."""
        cdef uint64_t tail = fc_peek(&self.c.tail), late
        cdef int seen
        while self.look_at <= top and not self.suspect_at:
            if self.look_at - FC_RUN_BYTES < tail:
                late = tail + FC_RUN_BYTES - self.look_at
                self.look_at += (late + RUN_APART_BYTES - 1) // RUN_APART_BYTES * RUN_APART_BYTES
                continue
            seen = self._alignment_at(self.look_at)
            if seen != FC_UNKNOWN:
                self._take(seen)
            if not self.suspect_at:
                self.runs += 1
                self.look_at += FC_RUN * 8 if self.runs < CLOSE_RUNS else RUN_APART_BYTES
        return R_ALIGN if self.suspect_at else 0

    cdef int _alignment_at(self, uint64_t end) noexcept nogil:
        return fc_alignment(self.ring.at(end - FC_RUN_BYTES))

    cdef void _take(self, int seen) noexcept nogil:
        """Take the alignment of the run that ends at `look_at`."""
        if self.alignment == FC_UNKNOWN:
            self.agreed = self.agreed + 1 if seen == self.candidate else 1
            self.candidate = seen
            if self.agreed < AGREE:
                return
            self.alignment = seen
        if seen == self.alignment:
            self.seen_at = self.look_at
        else:
            self.suspect_at = self.look_at

    cdef void _sample(self, uint64_t top) noexcept nogil:
        cdef uint64_t n = top - self.clock_start + self.clock_lost
        cdef uint64_t t = fc_load(&self.c.last_ns)
        cdef double late
        if self.clock_ns_per_byte <= 0 or top <= self.clock_start:
            return
        late = <double>(t - fc_load(&self.c.first_ns)) - n * self.clock_ns_per_byte
        if self.best_ns == 0 or late < self.best_late:
            self.best_late = late
            self.best_ns = t
            self.best_bytes = n

    cdef int _free(self) noexcept nogil:
        """Move `tail` up to what every lossless slot is done with, keeping the guard; note backlogs.

        A lossy consumer that lies half the room behind says that the ring is to grow.
        """
        cdef fc_control *c = self.c
        cdef uint64_t framed = fc_peek(&c.framed), tail = fc_peek(&c.tail), head = fc_load(&c.head)
        cdef uint64_t capacity = c.capacity, room = fc_room(c)
        cdef uint64_t floor = framed, done, keep
        cdef uint32_t i, state
        cdef fc_slot *s
        cdef int why = 0
        for i in range(FC_SLOTS):
            s = fc_slot_at(c, i)
            state = fc_load32(&s.state)
            if state == FC_FREE:
                continue
            if state & 3 != FC_ACTIVE:
                why |= R_SLOTS
                continue
            done = fc_slot_done(s, framed, tail)
            if framed - done > fc_peek(&s.high_water):
                fc_store(&s.high_water, framed - done)
            if not fc_load32(&s.lossless):
                if framed - done > room // 2 and fc_may_grow(c):
                    fc_store32(&c.crowded, 1)
                continue
            if head - done > capacity - capacity // 8 and not self.can_wait and not (state >> 8) & FC_ESSENTIAL:
                fc_store32(&s.lossless, 0)      # it would cost others: from now on it is passed, and can see so
                why |= R_DEMOTED
                continue
            if done < floor:
                floor = done
        if head - floor > fc_peek(&c.high_water):
            fc_store(&c.high_water, head - floor)
        keep = head + fc_guard(c)
        keep = keep - room if keep > room else 0
        fc_publish_tail(c, min(min(floor, keep), self.keep_from))
        return why

    # ---- what the caller decides -------------------------------------------------------------------

    def publish_framed(self, uint64_t pos):
        """Let consumers read up to ``pos``; the events below it are committed."""
        fc_publish_framed(self.c, pos)

    def watch(self, uint64_t start, int alignment):
        """Look at words' alignment from position ``start`` on, where one begins; UNKNOWN: runs have to agree first."""
        self.alignment, self.candidate, self.agreed, self.runs = alignment, FC_UNKNOWN, 0, 0
        self.seen_at, self.suspect_at, self.look_at = start + FC_RUN_BYTES, 0, start + FC_RUN_BYTES

    def look(self, uint64_t end):
        """Look at the run that ends at position ``end``, if it is still there; True if it is suspect."""
        cdef int seen
        if self.suspect_at or self.alignment == FC_UNKNOWN or end - FC_RUN_BYTES < fc_peek(&self.c.tail):
            return bool(self.suspect_at)
        seen = self._alignment_at(end)
        if seen != FC_UNKNOWN and seen != self.alignment:
            self.suspect_at = end
        return bool(self.suspect_at)

    def words_at(self, uint64_t recording, uint64_t phase):
        """Say where in eight bytes the words of a recording begin; the reader drops whole ones."""
        self.phase = phase
        fc_store(&self.c.word_phase, recording << 3 | phase)

    def commit_events(self, uint64_t nbytes, uint64_t ended_recording=0):
        """Make the event log's first ``nbytes`` visible and wake every consumer."""
        fc_commit_events(self.c, nbytes)
        if ended_recording:
            fc_store(&self.c.ended_rec, ended_recording)
        fc_notify_slots(self.c, FC_NEVER - 1)

    def give_up_events(self, uint64_t upto):
        """Let the event log begin at ``upto``, where a record does, and give its memory below back.

        The word is stored first: who reads zeros finds that they were given up. What a predecessor that died in
        between did not come to is given back, too.
        """
        fc_publish_events_from(self.c, upto)
        fallocate(self.ring.events_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, upto)

    def drops_done(self, uint64_t n):
        """Say that drop entries below ``n`` are events (or were cut off)."""
        fc_store(&self.c.drops_done, n)
        fc_notify(self.c, 0)

    @property
    def drops_done_count(self):
        """Drop entries that are events already."""
        return fc_peek(&self.c.drops_done)

    def serve_slots(self):
        """Grant what is wanted at `framed`, free what was left; return the changes as (slot, state)."""
        cdef uint32_t i, state
        cdef fc_slot *s
        changed = []
        for i in range(FC_SLOTS):
            s = fc_slot_at(self.c, i)
            state = fc_load32(&s.state)
            if state & 3 == FC_WANT:
                # at `framed`, which is not below `tail`: what is behind was never promised to this consumer
                if fc_slot_grant(s, fc_peek(&self.c.framed), state >> 8 & FC_LOSSLESS):
                    changed.append((i, "ACTIVE"))
            elif state & 3 == FC_LEAVING:
                fc_store32(&s.state, FC_FREE)
                changed.append((i, "FREE"))
        if changed:
            fc_notify_slots(self.c, FC_NEVER - 1)
        return changed

    def free_slot(self, uint32_t i):
        """Free a slot whose owner is known to be dead."""
        fc_store32(&fc_slot_at(self.c, i).state, FC_FREE)

    def take_sample(self):
        """Return (arrival_ns, source bytes) of the least late arrival since the last call, or None."""
        if self.best_ns == 0:
            return None
        sample = self.best_ns, self.best_bytes
        self.best_ns = 0
        return sample
