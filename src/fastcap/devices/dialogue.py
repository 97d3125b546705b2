"""Questions and answers over a line: no answer is ever taken for another question's.

Nothing in the devices' grammar says which question a line answers. But a device answers in the order in which
it was asked, and its identity line is unlike any other answer. So whenever something unexpected happens (a
time-out, a line nobody asked for, junk, an interrupt), the dialogue asks for the identity and drops every line
until it comes: what was asked before cannot be answered later. Identity lines that are still due are counted,
so that a late one is not mistaken for the one asked for now; only a long silence says that one was lost.

A number counts only if it was read twice, with such a barrier between the two: an unasked line that looks like a
number, or a damaged digit, shows.
"""

from __future__ import annotations

import os
import re
import time

from fastcap._messages import shown
from fastcap.devices.transport import ExchangeLog, Lines
from fastcap.errors import DeviceError, foreign_text

__all__ = ["Dialogue"]

_NUMBER = re.compile(r"[+-]?([0-9]{1,12}(\.[0-9]{0,12})?|\.[0-9]{1,12})([eE][+-]?[0-9]{1,2})?", re.ASCII)
_IDENTIFY = "*IDN?"
_ROUNDS = 12  # attempts at one reading or one barrier before the device is given up
_SILENT_ROUNDS = 4  # of these, barriers in which it says nothing at all


class Dialogue:
    """A device that is told things and asked for things, line by line.

    Parameters
    ----------
    what : str
        The device, for messages.
    expected_identity : str
        What its identity line must contain, whatever its case.
    timeout_s : float
        How long an answer may take; a later one is dropped when it comes.
    latest_s : float
        A silence after which nothing that was asked is answered any more.
    quiet_s : float
        A silence after which a device has no more to say.
    """

    def __init__(
        self,
        lines: Lines,
        log: ExchangeLog,
        *,
        what: str,
        expected_identity: str,
        timeout_s: float,
        latest_s: float,
        quiet_s: float,
    ) -> None:
        self._lines, self._log = lines, log
        self._what, self._expected = what, expected_identity
        self._owner = os.getpid()
        self._timeout_s, self._latest_s, self._quiet_s = timeout_s, latest_s, quiet_s
        self.identity = ""
        self._in_step = False
        self._identities_due = 0

    @property
    def foreign(self) -> bool:
        """Whether this process is a forked child of the one whose connection this is."""
        return os.getpid() != self._owner

    def open(self) -> None:
        """Connect and check who answers.

        Raises
        ------
        DeviceError
            No connection, no answer, or another device; or this is a forked child, and the connection its parent's.
        """
        if self.foreign:
            raise DeviceError(foreign_text(self._what, self._owner))
        if self._lines.is_open:
            return
        self._lines.open()
        self._in_step, self._identities_due = False, 0
        try:
            identity = self._learn_identity()
            if self._expected.casefold() not in identity.casefold():
                raise DeviceError(
                    f"{self._what} at {shown(self._lines.where)} says it is {shown(identity)}, "
                    f"not {shown(self._expected)}; name the right port"
                )
        except BaseException:
            self._lines.close()
            raise
        self.identity = identity

    def close(self) -> None:
        """Disconnect; the next use connects again. In a forked child nothing happens."""
        if not self.foreign:
            self._lines.close()

    def tell(self, command: str) -> None:
        """Send a command that is not answered."""
        self._get_in_step()
        self._lines.send(command)

    def number(self, question: str, agree: float, rounds: int = _ROUNDS) -> float:
        """Ask for a number until two readings in a row agree within ``agree``; return the second.

        Raises
        ------
        DeviceError
            So many ``rounds`` brought no two that agree, or the device is gone.
        """
        before: float | None = None
        heard: str | None = None
        for _ in range(rounds):
            heard = self._ask(question)
            if heard is None or not _NUMBER.fullmatch(heard):
                self._log.write("!", f"no number after {question}: {shown(heard)}")
                continue
            value = float(heard)
            if before is not None and abs(value - before) <= agree:
                self._in_step = True
                return value
            before = value
        raise self.no_answer(question, heard, rounds)

    def text(self, question: str) -> str:
        """Ask for a line of text, such as a mode, until two answers in a row are the same.

        Raises
        ------
        DeviceError
            Too many attempts brought no two that are, or the device is gone.
        """
        before: str | None = None
        for _ in range(_ROUNDS):
            heard = self._ask(question)
            if heard is not None and heard == before:
                self._in_step = True
                return heard
            before = heard
        raise self.no_answer(question, before)

    def _ask(self, question: str) -> str | None:
        """Return the first line after a question, or None; a barrier stands before the next one."""
        self._get_in_step()
        self._in_step = False  # an interrupt between here and the answer leaves it unknown
        self._lines.send(question)
        heard = self._receive(self._timeout_s)
        return None if heard is None else heard.strip()

    def listen(self, command: str) -> list[str]:
        """Send a command and return all lines until the device is quiet."""
        self._get_in_step()
        self._in_step = False
        self._lines.send(command)
        lines = []
        line = self._receive(self._timeout_s)
        while line is not None:
            lines.append(line)
            line = self._receive(self._quiet_s)
        return lines

    def barrier(self) -> None:
        """Make sure that everything said so far is dealt with, and nothing of it is answered later."""
        self._in_step = False
        self._get_in_step()

    def _get_in_step(self) -> None:
        """Connect if need be, and drop what is not an answer to what will be asked next."""
        self.open()
        if self._in_step and not self._lines.waiting():
            return
        self._in_step = False
        silent = 0
        for _ in range(_ROUNDS):
            heard = self._barrier()
            if self._in_step:
                return
            silent = 0 if heard else silent + 1
            if silent == _SILENT_ROUNDS:
                break
        raise self.no_answer(_IDENTIFY, None)

    def _barrier(self) -> int:
        """Ask for the identity and drop all lines until every one that is due has come; return how many came.

        If not all come, a long silence says that the others never will.
        """
        self._lines.send(_IDENTIFY)
        self._identities_due += 1
        heard = 0
        while (line := self._receive(self._latest_s)) is not None:
            heard += 1
            if line == self.identity:
                self._identities_due -= 1
                if self._identities_due == 0:
                    self._in_step = not self._lines.waiting()
                    return heard
            else:
                self._log.write("!", f"dropped: {shown(line)}")
        self._identities_due = 0
        return heard

    def _learn_identity(self) -> str:
        """Return the line that ends the answer to ``*IDN?`` in two tries: banners come once, junk varies."""
        seen: set[str] = set()
        silent = 0
        for _ in range(_ROUNDS):
            self._drain()
            self._lines.send(_IDENTIFY)
            last = None
            line = self._receive(self._latest_s)
            silent = silent + 1 if line is None else 0
            if silent == _SILENT_ROUNDS:
                break
            while line is not None:
                last = line if line.strip() and not _NUMBER.fullmatch(line.strip()) else last
                line = self._receive(self._quiet_s)
            if last is not None and last in seen:
                return last
            if last is not None:
                seen.add(last)
        raise self.no_answer(_IDENTIFY, None)

    def _drain(self) -> None:
        """Drop lines until nothing has come for ``quiet_s``; junk without end is cut short."""
        end_s = time.monotonic() + self._timeout_s
        while time.monotonic() < end_s and self._receive(self._quiet_s) is not None:
            pass

    def _receive(self, within_s: float) -> str | None:
        return self._lines.receive(time.monotonic() + within_s)

    def no_answer(self, question: str, heard: str | None, rounds: int = _ROUNDS) -> DeviceError:
        """Return the error that says that a question brought no answer of use."""
        said = "does not answer" if heard is None else f"answers {shown(heard)} to"
        return DeviceError(
            f"{self._what} at {shown(self._lines.where)} {said} {shown(question)} though asked again and again "
            f"(time-out {self._timeout_s:g} s); is it switched on, and is this its port?"
        )
