"""Whose turn it is to write: of the recordings that drain to one directory, the oldest.

Ring memory is given up in the order in which it was filled. Were all to write at once, a slow disk would serve each a
little, and none would give up any. A writer passes its turn on when its last byte is durable, or when the disk refuses
what it writes: then the next one tries, too.
"""

from __future__ import annotations

from fastcap.workers.recording import Recording

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastcap.workers.conduct import Conductor


class Turns:
    """Gives the NAS writers of one session their turns."""

    def __init__(self, conductor: Conductor) -> None:
        self.c = conductor

    def has(self, r: Recording) -> bool:
        """Tell whether no older recording is still to be written to the same directory."""
        r.has_turn = r.has_turn or not any(self._goes_before(other, r) for other in self.c.recordings)
        return r.has_turn

    def _goes_before(self, other: Recording, r: Recording) -> bool:
        if other.id >= r.id or other.over or other.written or other.sink_trouble:
            return False
        mine, its = r.spec["sink"], other.spec.get("sink")
        return its is not None and its["directory"] == mine["directory"]

    def pass_on(self) -> None:
        """Tell those whose turn has come."""
        for r in self.c.recordings:
            if r.writer is not None and not r.over and not r.has_turn and self.has(r):
                self.c.s.tell(r.writer, {"op": "turn", "recording": r.id})
