"""Memory for large results, used again once nobody holds it.

The kernel clears every page that a process is given, which takes longer than to decode a page's worth of words.
So the pages of results that are gone are kept, up to a limit, for those that come. They are marked as free
(MADV_FREE): a kernel short of memory takes them back at once, without writing them anywhere.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, madvise, mmap, munmap

cdef extern from "sys/mman.h" nogil:
    int MADV_FREE
    int MADV_HUGEPAGE

cdef enum:
    KEPT = 8                # regions
    MOST_KEPT = 256 << 20   # bytes of them: phase and radius of 2**24 words
    HUGE = 2 << 20
KEPT_BYTES = MOST_KEPT

cdef struct region:
    void *address
    size_t size

cdef region kept[KEPT]  # the longest unused first
cdef int count = 0


cdef void let_go(int k) noexcept:
    """Give the k-th kept region back to the kernel."""
    global count
    munmap(kept[k].address, kept[k].size)
    forget(k)


cdef void forget(int k) noexcept:
    global count
    count -= 1
    for j in range(k, count):
        kept[j] = kept[j + 1]


cdef size_t kept_size() noexcept:
    cdef size_t total = 0
    for k in range(count):
        total += kept[k].size
    return total


cdef class Pages:
    """Writeable memory of ``nbytes``, page-aligned, of undefined content.

    Raises
    ------
    MemoryError
        The kernel refuses so much.
    """

    cdef region memory
    cdef Py_ssize_t nbytes

    def __cinit__(self, Py_ssize_t nbytes):
        if nbytes < 1:
            raise ValueError(f"nbytes is {nbytes}; give at least 1")
        cdef size_t size = (<size_t> nbytes + HUGE - 1) // HUGE * HUGE
        cdef int k, best = -1
        self.nbytes = nbytes
        for k in range(count):
            if size <= kept[k].size < 2 * size and (best < 0 or kept[k].size < kept[best].size):
                best = k
        if best >= 0:
            self.memory = kept[best]
            forget(best)
            return
        cdef void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if address == MAP_FAILED:
            raise MemoryError(f"no memory for a result of {nbytes} bytes")
        madvise(address, size, MADV_HUGEPAGE)  # fewer faults; where it is refused, small pages will do
        self.memory.address, self.memory.size = address, size

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.memory.address, self.nbytes, 0, flags)

    def __dealloc__(self):
        global count
        if self.memory.address == NULL:
            return
        if self.memory.size > <size_t> MOST_KEPT or madvise(self.memory.address, self.memory.size, MADV_FREE):
            munmap(self.memory.address, self.memory.size)
            return
        while count and (count == KEPT or kept_size() + self.memory.size > <size_t> MOST_KEPT):
            let_go(0)
        kept[count] = self.memory
        count += 1
