from fastcap._ring import Ring, Slot

EOF: str
STOPPED: str
COMMAND: str
FAILED: str
CROWDED: str
OVERRUN: int

def set_pipe_size(fd: int, wanted: int) -> int: ...

class Reader:
    def __init__(self, ring: Ring, control_fd: int) -> None: ...
    def begin(
        self,
        fd: int,
        recording: int,
        *,
        word_bytes: int,
        can_wait: bool,
        gather_s: float = 0.001,
        replay_bytes_per_s: float = 0.0,
        pipe_bytes: int = 0,
    ) -> int: ...
    def resume(
        self,
        fd: int,
        recording: int,
        taken: int,
        *,
        word_bytes: int,
        can_wait: bool,
        gather_s: float = 0.001,
        replay_bytes_per_s: float = 0.0,
    ) -> None: ...
    def run(self) -> tuple[str, int]: ...
    def end(self) -> None: ...

def write_at(
    slot: Slot, fd: int, pos: int, n: int, offset: int, hold_until_ns: int = 0
) -> tuple[int, int, int]: ...
def sync(slot: Slot, fd: int, hold_until_ns: int = 0) -> tuple[int, int, int]: ...
def busy(slot: Slot, begins: bool) -> int: ...
def write_stream(slot: Slot, fd: int, recording: int, pos: int) -> tuple[int, int]: ...
