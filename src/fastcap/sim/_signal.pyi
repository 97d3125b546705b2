from typing import final

SEGMENT_WORDS: int

@final
class Signal:
    radius: float
    def __init__(
        self,
        *,
        seed: int,
        radius: float,
        noise: float,
        step_turns: float,
        walk_turns: float,
        drift_turns: float,
        drift_words: float,
        transient_words: int,
    ) -> None: ...
