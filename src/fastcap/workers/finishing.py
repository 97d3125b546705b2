"""The supervisor's last step with a recording's files: the sidecar with the whole report, a last look at all of them.

A NAS writer does it (`fastcap.workers.closing`), a new one if the recording's own has died; the recording is done when
it has answered. A destination that only fails is given up after a while, and the report says what it lacks.
"""

from __future__ import annotations

from fastcap.report import without_file
from fastcap.workers.recording import Recording

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastcap.workers.conduct import Conductor

GIVE_UP_S = 60.0  # after the source's end, a destination that only fails is given up
LOOK_S = 5.0


class Finishing:
    """Finishes the files of a session's recordings.

    Parameters
    ----------
    conductor : Conductor
    """

    def __init__(self, conductor: Conductor) -> None:
        self.c = conductor

    def is_over(self, r: Recording) -> bool:
        """Tell whether nothing is left to be done; begin with it if that is so far."""
        if r.closed or r.closing:
            return r.closed
        last = r.reports[-1]
        grown = last["analysis"] is None and r.analysis_result is not None
        last["analysis"] = r.analysis_result
        r.closed = not (
            grown or r.grown or len(r.reports) > 1
        )  # a single file was looked at when it got its name
        if not r.closed:
            r.closing, r.grown = True, r.grown or grown
            self._tell(r)
            self._watch(r, 0.0)
        return r.closed

    def _tell(self, r: Recording) -> None:
        if r.writer is None:
            r.writer = self.c.take("nas_writer")
            r.writer.recording = r.id
        report = r.reports[-1] if r.grown else None
        known = {"device": r.destination_device, "files": r.files_named, "report": report}
        known["found"] = (r.sink_so_far or {}).get("directory")
        self.c.s.tell(r.writer, {**r.spec["sink"], **known, "op": "close", "recording": r.id})

    def _watch(self, r: Recording, waited_s: float) -> None:
        if r.closed or r.over:
            return
        if waited_s >= patience_s(r):
            self.give_up(r, f"{r.sink_trouble} (for {waited_s:.0f} s)")
            return
        look_s = min(LOOK_S, patience_s(r) / 4)
        waited_s = waited_s + look_s if r.sink_trouble is not None else 0.0
        self.c.s.loop.later(look_s, lambda: self._watch(r, waited_s))

    def again(self, r: Recording) -> None:
        """Start over: the writer has died, perhaps before it was done with it."""
        r.closing = False
        self.c.check_done(r)

    def give_up(self, r: Recording, why: str) -> None:
        """Be done without; the report says so."""
        lacks = "the sidecar lacks the analysis, and nobody could" if r.grown else "nobody could"
        text = f"{r.reports[-1]['path']}: {lacks} look at the files once more: {why}"
        r.reports[-1] = without_file(r.reports[-1], text)
        r.closed = True
        self.c.s.say({"op": "warning", "recording": r.id, "text": text})
        self.c.check_done(r)


def patience_s(r: Recording) -> float:
    """Return for how long a destination may fail, and nothing else, after the source's end."""
    return float(r.spec["sink"].get("give_up_s", GIVE_UP_S))
