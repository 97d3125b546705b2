from typing import final

from fastcap.sim._optics import Optics

SEGMENT_WORDS: int

@final
class Signal:
    radius: float
    optics: Optics | None
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
        optics: Optics | None = None,
    ) -> None: ...
