from typing import final

from fastcap.sim._signal import Signal

RUNNING: int
AT_LIMIT: int
DONE: int

@final
class Board:
    made: int
    accepted: int
    written: int
    lost_overflow: int
    lost_fault: int
    bytes_written: int
    bytes_slipped: int
    fifo_high_water: int
    started_ns: int
    def __init__(
        self,
        fd: int,
        header: bytes,
        rate: tuple[int, int],
        total_words: int,
        fifo_words: int,
        polled: bool,
        chunk_bytes: int,
        chunk_seed: int,
        losses: list[tuple[int, int]],
        signal: Signal | None,
    ) -> None: ...
    def cut(self, count: int) -> None: ...
    def slip(self, count: int) -> None: ...
    def run(self, limit: int, slice_ns: int) -> int: ...
