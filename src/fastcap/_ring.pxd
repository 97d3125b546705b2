"""What the other extensions may use of the ring: the protocol of _ring.h, and the mapped objects."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "_ring.h" nogil:
    enum:
        FC_SLOTS
        FC_DROPS
        FC_READER
        FC_SPLITTER
        FC_STORE
        FC_DROP
        FC_FREE
        FC_WANT
        FC_ACTIVE
        FC_LEAVING
        FC_LOSSLESS
        FC_ESSENTIAL
        FC_IDLE
        FC_READING
        FC_ENDED
        FC_LAYOUT
    const uint64_t FC_MAGIC
    const uint64_t FC_NEVER

    ctypedef struct fc_drop:
        uint64_t position
        uint64_t bytes
        uint64_t before
        uint64_t recording
        uint64_t at_ns

    ctypedef struct fc_control:
        uint64_t magic
        uint32_t layout
        uint32_t slots
        uint64_t capacity
        uint64_t first
        uint64_t created_ns
        uint64_t ready
        uint64_t head
        uint64_t rec_id
        uint64_t rec_start
        uint64_t rec_end
        uint32_t rec_state
        uint32_t mode
        uint64_t ndrops
        uint64_t first_ns
        uint64_t last_ns
        uint64_t pipe_full_ns
        uint64_t quiet_ns
        uint64_t word_phase
        uint64_t pipe_bytes
        uint64_t reads
        uint64_t grown
        uint64_t framed
        uint64_t events
        uint64_t events_from
        uint64_t drops_done
        uint64_t ended_rec
        uint64_t high_water
        uint32_t crowded
        uint64_t tail
        uint32_t seq
        uint32_t sleepers_reader
        uint32_t sleepers_splitter
        uint32_t commands
        uint64_t stop_rec

    ctypedef struct fc_slot:
        uint32_t state
        uint32_t lossless
        uint64_t spilled
        uint64_t granted
        uint64_t high_water
        uint64_t overrun_bytes
        uint64_t cursor
        uint64_t want
        uint64_t busy_since_ns

    uint64_t fc_load(const uint64_t *p)
    uint64_t fc_peek(const uint64_t *p)
    void fc_store(uint64_t *p, uint64_t v)
    uint32_t fc_load32(const uint32_t *p)
    void fc_store32(uint32_t *p, uint32_t v)
    uint64_t fc_control_bytes()
    fc_slot *fc_slot_at(fc_control *c, uint32_t i)
    uint64_t fc_now_ns()
    void fc_bump(fc_control *c)
    void fc_notify(fc_control *c, uint32_t classes)
    void fc_notify_slots(fc_control *c, uint64_t reached)
    void fc_sleep(fc_control *c, uint32_t *flag, uint32_t bit, uint32_t seen, uint64_t timeout_ns)
    void fc_sleep_slot(fc_control *c, uint32_t i, uint64_t want, uint32_t seen, uint64_t timeout_ns)
    uint64_t fc_room(const fc_control *c)
    uint64_t fc_guard(const fc_control *c)
    int fc_may_grow(const fc_control *c)
    uint64_t fc_store_limit(const fc_control *c)
    void fc_grow(fc_control *c)
    uint64_t fc_words_at(const fc_control *c, uint64_t recording)
    uint64_t fc_whole_below(uint64_t pos, uint64_t word, uint64_t phase)
    void fc_wait_for_room(fc_control *c, uint64_t head, uint64_t word, uint64_t timeout_ns)
    void fc_publish_head(fc_control *c, uint64_t pos)
    fc_drop *fc_drop_at(fc_control *c, uint64_t n)
    int fc_drop_begin(fc_control *c, uint64_t recording, uint64_t now_ns)
    void fc_drop_add(fc_control *c, uint64_t n)
    uint64_t fc_recover_head(fc_control *c, uint64_t taken)
    uint64_t fc_arrived(const fc_control *c)
    void fc_publish_framed(fc_control *c, uint64_t pos)
    void fc_commit_events(fc_control *c, uint64_t n)
    void fc_publish_events_from(fc_control *c, uint64_t n)
    uint64_t fc_events_from(const fc_control *c)
    uint64_t fc_slot_done(const fc_slot *s, uint64_t framed, uint64_t tail)
    void fc_publish_tail(fc_control *c, uint64_t pos)
    int fc_slot_grant(fc_slot *s, uint64_t position, uint32_t lossless)
    int fc_slot_claim(fc_slot *s, uint32_t flags, uint32_t pid)
    uint32_t fc_slot_owner(uint32_t state)
    void fc_slot_adopt(fc_slot *s, uint32_t pid)
    uint64_t fc_readable(const fc_control *c)
    int fc_still_valid(const fc_control *c, uint64_t pos)
    void fc_advance(fc_control *c, fc_slot *s, uint64_t pos)


cdef extern from "_map.h" nogil:
    ctypedef struct fc_map:
        uint8_t *base
        uint64_t origin
        uint64_t span

    ctypedef struct fc_memory:
        fc_map small, large

    int fc_map_open(fc_memory *m, const fc_control *c, int fd, int prot)
    void fc_map_close(fc_memory *m)
    fc_map *fc_mapped(fc_memory *m, const fc_control *c)
    uint64_t fc_offset(const fc_map *map, uint64_t pos)
    uint8_t *fc_at(fc_memory *m, const fc_control *c, uint64_t pos)


cdef class Ring:
    cdef fc_control *c
    cdef fc_memory memory       # any range below what is in use is contiguous
    cdef readonly uint64_t capacity
    cdef readonly bint writable
    cdef readonly int control_fd, data_fd, events_fd
    cdef uint8_t *at(self, uint64_t pos) noexcept nogil


cdef class Slot:
    cdef readonly Ring ring
    cdef readonly uint32_t index
    cdef fc_slot *s
    cdef uint64_t wait_framed(self, uint64_t target, uint64_t events, uint64_t timeout_ns) noexcept nogil
