"""The ring as plain integers and bytes: what the protocol says, without shared memory or processes."""

from __future__ import annotations

WORD = 8
PAGE = 4096


class PlainConsumer:
    """A consumer's place, and what is promised to it."""

    def __init__(self, cursor: int, *, lossless: bool, essential: bool) -> None:
        self.cursor = cursor
        self.lossless = lossless
        self.essential = essential


class PlainRing:
    """A headerless recording in a ring that is allocated whole, from a source that cannot wait.

    Attributes
    ----------
    stored : bytearray
        Every byte that was ever stored; position p is ``stored[p]``.
    drops : list of [position, bytes]
    in_use : int
        Bytes that are used: ``first``, until the ring is full or crowded; then its capacity.
    """

    def __init__(self, capacity: int, first: int) -> None:
        self.capacity = capacity
        self.in_use = first
        self.crowded = False
        self.stored = bytearray()
        self.framed = self.tail = 0
        self.fed = 0
        self.dropping = False
        self.drops: list[list[int]] = []
        self.consumers: list[PlainConsumer] = []

    @property
    def head(self) -> int:
        return len(self.stored)

    @property
    def room(self) -> int:
        end = self.tail + self.in_use
        return (end if self.in_use == self.capacity else end // PAGE * PAGE) - self.head

    def _turn(self) -> None:
        """Grow, and go over between storing and dropping, as far as the room says."""
        if self.crowded or self._whole_words_from(self.head, self.room) <= 0:
            self.in_use = self.capacity
        room = self.room
        if self.dropping:
            if room >= self.in_use // 8 and self.drops[-1][1] % WORD == 0:
                self.dropping = False
        elif self._whole_words_from(self.head, room) == 0:
            self.dropping = True
            if not self.drops or self.drops[-1][0] != self.head:
                self.drops.append([self.head, 0])

    def feed(self, data: bytes) -> None:
        """Store or drop what the source sends."""
        self.fed += len(data)
        while data:
            self._turn()
            room = self.room
            if self.dropping:
                to_whole_word = -self.drops[-1][1] % WORD
                n = min(len(data), to_whole_word) if room >= self.in_use // 8 else len(data)
                self.drops[-1][1] += n
            else:
                n = min(len(data), self._whole_words_from(self.head, room))
                self.stored += data[:n]
            data = data[n:]
        self._turn()

    @staticmethod
    def _whole_words_from(head: int, room: int) -> int:
        return (head + room) // WORD * WORD - head

    def split(self) -> None:
        """Frame what has arrived, and give up memory that nobody holds, but for a guard."""
        self.framed = self.head // WORD * WORD
        for c in self.consumers:
            if not c.lossless and self.framed - c.cursor > self.in_use // 2:
                self.crowded = True
            if not c.essential and self.head - c.cursor > self.capacity - self.capacity // 8:
                c.lossless = False
        held = [c.cursor for c in self.consumers if c.lossless]
        floor = min([self.framed, *held])
        self.tail = max(self.tail, min(floor, self.head + self.in_use // 4 - self.in_use))

    def gaps(self) -> list[tuple[int, int, int]]:
        """Return (position, source word before, words) of the gaps, the open one too."""
        found, lost = [], 0
        for position, dropped in self.drops:
            if dropped:
                found.append((position, position // WORD + lost, dropped // WORD))
                lost += dropped // WORD
        return found
