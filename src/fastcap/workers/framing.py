"""Where a recording's words, files and end lie: the splitter's arithmetic, without ring or processes.

    source word = (position - data start) / word size + words dropped before

The words dropped count, so that an index, a cut after N words and a new file every T stay true across gaps.
"""

from __future__ import annotations

from fastcap.errors import StreamFormatError
from fastcap.events import GAP, HEADER, MARK, Event
from fastcap.workers.marks import Regular, Windows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fractions import Fraction
    from typing import Any

FOREVER = 2**63


def _fraction(pair: list[int] | None) -> Fraction | None:
    if not pair:
        return None
    from fractions import Fraction

    return Fraction(*pair)


class Framing:
    """One recording's header, gaps, cuts and marks.

    Parameters
    ----------
    message : dict
        ``recording``, ``word_bytes``, ``header`` ("yes", "no", "auto"), ``payload`` (see `fastcap.payload`),
        ``rate`` ([numerator, denominator] or None), ``max_words`` or None, ``max_seconds`` and ``split_seconds``
        ([numerator, denominator] or None), ``whole_words`` (true: bytes behind the last whole word are left out at the
        end), ``windows`` (None, or those asked for so far: see `fastcap.workers.marks`), ``split_at`` (see `split_at`).
    start : int
        Ring position of the recording's first byte.
    """

    def __init__(self, message: dict[str, Any], start: int) -> None:
        self.recording: int = message["recording"]
        self.word_bytes: int = message["word_bytes"]
        self.start = start
        self.whole_words = bool(message.get("whole_words"))
        self.header_known = message["header"] == "no"
        self._auto = message["header"] == "auto"
        self._payload: str = message.get("payload") or "auto"
        self.header_bytes = 0  # all that stands before the data
        self.preamble = ""  # text before the magic word
        asked_none = "option" if self._payload == "none" else "source"
        self.payload = {
            "layout": "none",
            "known_by": asked_none,
        }  # for the report: see `fastcap.payload.Layout`
        self.header_error: str | None = None
        self.warnings: list[str] = []  # what the header does not say, and what was assumed
        self.rate = _fraction(message.get("rate"))
        self._max_words: int | None = message.get("max_words")
        self._max_seconds = _fraction(message.get("max_seconds"))
        self._split_seconds = _fraction(message.get("split_seconds"))
        self.lost_words = 0
        self.odd_lost = 0
        self._gaps: list[tuple[int, int]] = []  # positions, and words lost before them
        windows = message.get("windows")
        self.marks: Regular | Windows = (
            Regular(lambda: self.split_words, message.get("split_at"))
            if windows is None
            else Windows(windows)
        )
        self._began_at = start  # where the present file begins
        self._wanted_bytes = 0  # so many must be here to tell where data begin, or to have all of the header
        self._gap_at = start  # a file that would begin within the last gap begins behind it, at this position

    # -- positions -------------------------------------------------------------------------------

    @property
    def data_start(self) -> int:
        """Position of the first data word."""
        return self.start + self.header_bytes

    def _position_of(self, source_word: int) -> int:
        return self.data_start + (source_word - self.lost_words) * self.word_bytes

    def _aligned(self, position: int) -> int:
        """Return the position of the first whole word at or behind ``position``."""
        return position + (self.data_start - position) % self.word_bytes

    def source_word(self, position: int) -> int:
        """Return the source's index of the word at ``position``, words dropped before it counted."""
        return (position - self.data_start) // self.word_bytes + self.lost_words

    def source_word_behind(self, position: int) -> int:
        """Return what `source_word` was when ``position`` was reached: later drops do not count."""
        later = sum(words for at, words in self._gaps if at > position)
        return self.source_word(position) - later

    @property
    def windowed(self) -> bool:
        """Its files are windows, and what lies between them."""
        return isinstance(self.marks, Windows)

    @property
    def max_words(self) -> int | None:
        """Source words after which the recording is cut."""
        if self._max_words is not None:
            return self._max_words
        if self._max_seconds is not None and self.rate is not None:
            return int(self._max_seconds * self.rate)
        return None

    @property
    def split_words(self) -> int | None:
        """Source words of one file."""
        if self._split_seconds is None or self.rate is None:
            return None
        return max(1, int(self._split_seconds * self.rate))

    @property
    def cut(self) -> int:
        """Position at which the recording ends by its length; FOREVER while that is not known."""
        if not self.header_known or self.max_words is None:
            return FOREVER
        return self._position_of(self.max_words)

    @property
    def limit(self) -> int:
        """Position at which something has to be decided: header, new file, cut."""
        if not self.header_known:
            return self.start + self._wanted_bytes
        limit = self.cut
        mark = self.marks.next(self._position_of, self._aligned)
        return limit if mark is None else min(limit, max(mark, self._gap_at))

    # -- the header --------------------------------------------------------------------------------

    def look_for_header(
        self, prefix: bytes, *, final: bool, have: int | None = None, most: int = FOREVER
    ) -> bool:
        """Decide from what has come so far whether the header is known.

        Parameters
        ----------
        prefix : bytes
            The stream's first bytes; the first `fastcap.payload.LOOK_BYTES` are enough.
        final : bool
            No more will come.
        have : int, optional
            How many have come, if that is more than ``prefix``.
        most : int
            A header larger than this cannot be waited for.
        """
        from fastcap.payload import NoMagicError, TornHeaderError, find_layout

        try:
            found = find_layout(prefix, self._payload, final=final)
        except NoMagicError as e:
            expected = not self._auto or not prefix
            return self._no_header("no magic", str(e) if expected else None)
        except StreamFormatError as e:
            return self._no_header("torn" if isinstance(e, TornHeaderError) else "no magic", str(e))
        if isinstance(found, int):
            self._wanted_bytes = found
            return False
        if (wanted := found.header_bytes) > most:
            return self._no_header(
                "too large", f"header of {wanted} bytes does not fit the ring: give a larger one (--ring)"
            )
        if wanted > (have := have or len(prefix)):  # a V2 stream's table of rollovers is still to come
            self._wanted_bytes = wanted
            return final and self._no_header("torn", f"header is torn: {have} of {wanted} bytes are there")
        self.header_bytes = wanted
        self.payload = found.report()
        self.header_known = True
        return True

    def put_off_header(self, *, final: bool) -> bool:
        """Look again later at a header that the event log has no room for; at the end, true: it is taken for data."""
        wanted = self.header_bytes
        if final:
            return self._no_header("too large", f"header of {wanted} bytes has no room: /dev/shm is full")
        self.header_known, self.header_bytes, self._wanted_bytes = False, 0, wanted
        return False

    def _no_header(self, known_by: str, error: str | None) -> bool:
        self.header_known = True
        self.header_bytes = self._wanted_bytes = 0
        self.payload = {"layout": "none", "known_by": known_by}
        self.header_error = error
        return True

    def parse(self, raw: bytes) -> None:
        """Take the rate from a whole header; a stated rate stands where the header has none."""
        from fastcap.stream import parse_whole_header

        try:
            header = parse_whole_header(raw)
        except StreamFormatError as e:
            self.header_error = str(e)
            return
        self.warnings = [*header.warnings, *header.live_warnings]
        self.preamble = header.preamble.decode(errors="replace")
        if self.rate is None:
            self.rate = header.sample_rate_hz

    def header_report(self) -> dict[str, Any]:
        """Return what the supervisor is told about the header."""
        rate = [self.rate.numerator, self.rate.denominator] if self.rate else None
        return {
            "header_bytes": self.header_bytes,
            "header_error": self.header_error,
            "payload": self.payload,
            "preamble": self.preamble,
            "rate": rate,
            "max_words": self.max_words,
            "warnings": self.warnings,
        }

    # -- gaps and marks ------------------------------------------------------------------------------

    def take_gap(self, position: int, dropped_bytes: int) -> dict[str, Any]:
        """Account for bytes dropped at ``position``; what reaches beyond the cut is discarded, not lost."""
        words, odd = divmod(dropped_bytes, self.word_bytes)
        after = self.source_word(position)
        if self.max_words is not None and after + words >= self.max_words:
            beyond = after + words - self.max_words
            words, odd = words - beyond, 0
        self.lost_words += words
        self.odd_lost += odd
        self._gaps.append((position, words))
        self._gap_at = position
        return {"after_word": after, "words": words, "odd_bytes": odd}

    def mark_due(self, position: int) -> bool:
        """Tell whether a new file begins at ``position``."""
        if not self.header_known or position >= self.cut:
            return False
        mark = self.marks.next(self._position_of, self._aligned)
        return mark is not None and position >= max(mark, self._gap_at)

    def take_mark(self, position: int) -> dict[str, Any]:
        """Begin a new file at ``position``; returns the MARK event's payload."""
        self._began_at = position
        return self.marks.take(position, self.source_word(position))

    def split_at(self, position: int) -> None:
        """Begin a new file at ``position``, where words have no rate and some have come since the last one began."""
        if (
            isinstance(self.marks, Regular)
            and self.header_known
            and position > max(self._began_at, self.data_start)
        ):
            self.marks.ask(position)

    def cut_from(self, position: int) -> None:
        """Let the recording end with the word before the first whole one at or behind ``position``."""
        self._max_words = self.source_word(self._aligned(position))

    def restore(self, past: list[Event]) -> None:
        """Take over what a predecessor had written about this recording."""
        for event in past:
            if event.kind == HEADER:
                self._restore_header(event.payload)
            elif event.kind == GAP:
                self.lost_words += event.data["words"]
                self.odd_lost += event.data["odd_bytes"]
                self._gaps.append((event.position, event.data["words"]))
                self._gap_at = event.position
            elif event.kind == MARK:
                self._began_at = event.position
                self.marks.restore(event)

    def _restore_header(self, raw: bytes) -> None:
        from fastcap.payload import layout_of_size

        if not raw:
            if not self.header_known:
                error = None if self._auto else "the stream did not begin with a whole header"
                self._no_header("no magic", error)
            return
        found = layout_of_size(raw, len(raw), None if self._payload == "auto" else "option")
        assert found is not None
        self.header_bytes, self.payload = len(raw), found.report()
        self.header_known = True
        self.parse(raw)

    # -- the end -------------------------------------------------------------------------------------

    def end_of(self, end: int) -> int:
        """Return where a recording ends of which the last byte that was read stands before ``end``."""
        if not self.whole_words or end < self.data_start:
            return end
        return end - (end - self.data_start) % self.word_bytes

    def summary(self, end: int) -> dict[str, Any]:
        """Return the END event's payload for a recording that ends at position ``end``."""
        size = end - self.start
        data = max(0, end - self.data_start)
        return {
            "bytes": size,
            "header_bytes": self.header_bytes,
            "words": data // self.word_bytes,
            "odd_bytes": data % self.word_bytes,
            "words_lost": self.lost_words,
            "odd_lost": self.odd_lost,
        }
