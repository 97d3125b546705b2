import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

NO_M: int
BLOCK_WORDS: int
ROW_BYTES: int

def levels() -> tuple[str, ...]: ...
def use_level(name: str) -> None: ...
def decode(
    words: NDArray[np.uint64],
    phase: NDArray[np.float64] | None,
    radius: NDArray[np.float64] | None,
    wraps: int,
    last_m: int,
    threads: int = 1,
) -> tuple[int, int]: ...
def decode_file(
    fd: int,
    offset: int,
    swapped: bool,
    n: int,
    phase: NDArray[np.float64] | None,
    radius: NDArray[np.float64] | None,
    wraps: int,
    last_m: int,
    threads: int = 1,
) -> tuple[int, int, int]: ...
def split(
    words: NDArray[np.uint64],
    i: NDArray[np.int32] | None,
    q: NDArray[np.int32] | None,
    m: NDArray[np.int16] | None,
) -> None: ...
def index_rows(
    words: NDArray[np.uint64], rows: NDArray[np.uint8], wraps: int, last_m: int
) -> tuple[int, int]: ...

class IndexBuilder:
    def __init__(self, state: bytes = b"", wraps: int = 0) -> None: ...
    @property
    def words(self) -> int: ...
    def add(self, data: Buffer) -> None: ...
    def add_at(self, address: int, nbytes: int) -> None: ...
    def take_rows(self) -> bytes: ...
    def last_row(self) -> bytes: ...
    def state(self) -> bytes: ...
