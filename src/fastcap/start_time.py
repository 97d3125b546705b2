"""The recording start that a header states: its written forms, exact to the nanosecond.

    2023-11-23 17:03:08 +0800
    2025-02-18T17:03:08+0800
    2025-02-18T17:03:08.123456789+08:00[Asia/Singapore]

The offset may be missing: then it is local time where it was recorded, which is taken to be here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["FORMS", "StartTime", "format_start", "parse_start", "start_in_form"]

FORMS = ("space", "iso", "iso-ns", "zone", "local")  # what `start_in_form` writes
NS = 1_000_000_000
_SHAPE = "dddd-dd-dd?dd:dd:dd"
_OFFSETS = {"": 0, "Z": 0, "sdddd": 2, "sdd:dd": 3}  # shape: where its minutes begin, behind the sign
_ZONE_FORM = (8 * 60, "[Asia/Singapore]")


class StartTime(msgspec.Struct, frozen=True):
    """A moment, and the form in which it is written.

    Attributes
    ----------
    unix_ns : int
        Nanoseconds since 1970, UTC; exact.
    separator : {" ", "T"}
        Between date and time.
    digits : int
        Of the fraction of a second: 0 to 9.
    offset : str
        As written, with what stands before it: `` +0800``, ``+08:00``, ``Z``; empty: local time.
    zone : str
        The zone's name in brackets, or empty.
    """

    unix_ns: int
    separator: str = " "
    digits: int = 0
    offset: str = " +0000"
    zone: str = ""

    @property
    def offset_s(self) -> int | None:
        """Seconds that its clock is ahead of UTC; None: it is local time."""
        return _offset_s(self.offset.strip()) if self.offset else None

    @property
    def moment(self) -> datetime:
        """The moment as an aware datetime, to the microsecond; what is beyond that is cut off."""
        from datetime import UTC, datetime, timedelta, timezone

        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.unix_ns // 1000)
        ahead_s = self.offset_s
        return moment.astimezone(None if ahead_s is None else timezone(timedelta(seconds=ahead_s)))

    def text(self) -> str:
        """Return it as it is written: the same length for every moment in the same form."""
        clock = self.moment.replace(tzinfo=None).isoformat(self.separator, "seconds")
        fraction = f".{self.unix_ns % NS:09d}"[: self.digits + 1] if self.digits else ""
        return f"{clock}{fraction}{self.offset}{self.zone}"

    def later(self, elapsed_ns: int) -> StartTime:
        """Return a later moment in the same form."""
        return msgspec.structs.replace(self, unix_ns=self.unix_ns + elapsed_ns)


def parse_start(text: str) -> StartTime | None:
    """Read a start in any of its forms; None if it is no time.

    By hand: strptime, or regular expressions, would cost a worker's start more than all the rest.
    """
    clock, rest = text[:19], text[19:]
    shape = _shape_of(clock)
    if shape[:10] + "?" + shape[11:] != _SHAPE or clock[10] not in " T":
        return None
    rest, fraction = _cut_fraction(rest)
    rest, bracket, name = rest.partition("[")
    zone = (" " if bracket and rest.endswith(" ") else "") + bracket + name
    rest = rest.removesuffix(" ") if zone else rest
    if fraction is None or (zone and (not name.endswith("]") or "[" in name or len(name) < 2)):
        return None
    return _start_of(clock, fraction, rest, zone)


def _cut_fraction(rest: str) -> tuple[str, str | None]:
    """Return what follows the fraction of a second, and the fraction's digits; None if it has none or too many."""
    if not rest.startswith("."):
        return rest, ""
    digits = rest[1:11]
    count = len(digits) - len(digits.lstrip("0123456789"))
    return rest[1 + count :], digits[:count] if 1 <= count <= 9 else None


def _start_of(clock: str, fraction: str, offset: str, zone: str) -> StartTime | None:
    from datetime import UTC, datetime, timedelta

    ahead_s = _offset_s(offset.strip())
    if ahead_s is None or len(offset) - len(offset.strip()) > 1 or offset.endswith(" "):
        return None
    try:
        moment = datetime.fromisoformat(clock)
        if offset.strip():
            moment = moment.replace(tzinfo=UTC) - timedelta(seconds=ahead_s)
        since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        start = StartTime(
            unix_ns=(since.days * 86_400 + since.seconds) * NS + int(fraction.ljust(9, "0")),
            separator=clock[10],
            digits=len(fraction),
            offset=offset,
            zone=zone,
        )
        start.moment  # noqa: B018 - beyond the years 1 to 9999 there is none
    except (ValueError, OverflowError, OSError):
        return None
    return start


def _shape_of(text: str) -> str:
    return "".join("d" if c in "0123456789" else c for c in text)


def _offset_s(text: str) -> int | None:
    """Return an offset in seconds; 0 for none; None if it is no offset."""
    sign = text[:1] if text[:1] in ("+", "-") else ""
    shape = ("s" if sign else "") + _shape_of(text[len(sign) :])
    where = _OFFSETS.get(shape)
    if not where:
        return where
    hours, minutes = int(text[1:3]), int(text[1 + where :])
    if hours > 23 or minutes > 59:
        return None
    return (hours * 60 + minutes) * (-60 if sign == "-" else 60)


def start_in_form(moment: datetime, form: str, ns: int = 0) -> StartTime:
    """Return a moment in one of the forms that the board's programs write.

    Parameters
    ----------
    moment : datetime
        Aware; its offset is written, except in the forms ``zone`` (Singapore's) and ``local`` (none).
    form : {"space", "iso", "iso-ns", "zone", "local"}
        ``%F %T %z`` (2023), ``%FT%T%z``, ``%FT%T.%f%z`` with nine digits (2025), that with a colon and the zone's
        name, and ``%F %T`` without an offset.
    ns : int
        What comes to the microseconds of ``moment``.

    Raises
    ------
    ValueError
        ``moment`` has no offset, or one that is no whole number of minutes.
    """
    from datetime import UTC, datetime, timedelta

    ahead = moment.utcoffset()
    if ahead is None or ahead % timedelta(minutes=1):
        raise ValueError(f"recording start {moment!r} needs a time zone of whole minutes")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    unix_ns = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000 + ns
    minutes, zone = (ahead // timedelta(minutes=1), "") if form != "zone" else _ZONE_FORM
    digits = 9 if form in ("iso-ns", "zone") else 0
    separator = " " if form in ("space", "local") else "T"
    offset = _written_offset(minutes, ":" if form == "zone" else "")
    offset = {"space": f" {offset}", "local": ""}.get(form, offset)
    return StartTime(unix_ns, separator, digits, offset, zone)


def _written_offset(minutes: int, colon: str) -> str:
    hours, minutes_left = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}{colon}{minutes_left:02d}"


def format_start(moment: datetime) -> str:
    """Format a time as the headers of 2023 do, ``%F %T %z``: always 25 characters, sub-seconds cut off.

    Raises
    ------
    ValueError
        ``moment`` has no time zone, or one that is no whole number of minutes.
    """
    return start_in_form(moment, "space").text()
