"""Questions and answers in orders that only a script can bring about, and signals while a device is left."""

from __future__ import annotations

from collections import deque

import pytest

import fastcap as fc
from fastcap.devices.dialogue import Dialogue
from fastcap.devices.transport import ExchangeLog

IDENTITY = "VOA Driver X"
OPENING = [None, IDENTITY, None, None, IDENTITY, None]  # quiet, twice the same identity and nothing after it


class Script:
    """Lines that bring what a list says: a line, None for a time-out, an exception."""

    where = "script"

    def __init__(self, *events: str | type[BaseException] | None) -> None:
        self.events = deque([*OPENING, *events])
        self.sent: list[str] = []
        self.is_open = False
        self.has_more = False

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def send(self, line: str) -> None:
        self.sent.append(line)

    def receive(self, deadline_s: float) -> str | None:
        event = self.events.popleft()
        if isinstance(event, type):
            raise event
        return event

    def waiting(self) -> bool:
        more, self.has_more = self.has_more, False
        return more


def dialogue(script: Script) -> Dialogue:
    made = Dialogue(
        script,
        ExchangeLog(None),
        what="device",
        expected_identity="voa",
        timeout_s=1,
        latest_s=2,
        quiet_s=0.1,
    )
    made.open()
    script.sent.clear()
    return made


def test_number_is_read_twice_with_a_barrier_between() -> None:
    script = Script(IDENTITY, "1.0", IDENTITY, "1.0")
    assert dialogue(script).number("VOLT? 0", 0.001) == 1.0
    assert script.sent == ["*IDN?", "VOLT? 0", "*IDN?", "VOLT? 0"]
    assert not script.events


def test_late_answer_is_dropped_before_the_question_is_asked_again() -> None:
    script = Script(IDENTITY, None, "1.0", IDENTITY, "2.0", IDENTITY, "2.0")
    assert dialogue(script).number("VOLT? 0", 0.001) == 2.0
    assert not script.events


def test_identity_lines_of_an_interrupted_barrier_are_waited_for() -> None:
    script = Script(KeyboardInterrupt, IDENTITY, "7.0", IDENTITY)
    it = dialogue(script)
    with pytest.raises(KeyboardInterrupt):
        it.barrier()

    it.barrier()

    assert not script.events


def test_identity_lines_that_never_come_are_given_up_after_a_long_silence() -> None:
    script = Script(KeyboardInterrupt, IDENTITY, None, IDENTITY)
    it = dialogue(script)
    with pytest.raises(KeyboardInterrupt):
        it.barrier()

    it.barrier()

    assert script.sent == ["*IDN?"] * 3
    assert not script.events


def test_line_that_waits_before_a_question_makes_a_barrier_come_first() -> None:
    script = Script(IDENTITY, "unasked", IDENTITY)
    it = dialogue(script)
    it.barrier()
    script.sent.clear()
    script.has_more = True

    it.tell("VOLT 0 1")

    assert script.sent == ["*IDN?", "VOLT 0 1"]


def test_line_after_the_identity_makes_another_barrier_come() -> None:
    script = Script(IDENTITY, "unasked", IDENTITY)
    it = dialogue(script)
    script.has_more = True
    it.barrier()
    assert script.sent == ["*IDN?", "*IDN?"]


@pytest.mark.parametrize("heard", ["", "1.0 V", "nan", "1e999999", "0x1", "1_0", "\u0661", "--1", "1.0.0"])
def test_answer_that_is_no_plain_number_is_none(heard: str) -> None:
    script = Script(IDENTITY, *[heard, IDENTITY] * 11, heard)
    with pytest.raises(fc.DeviceError, match=r"answers .* to 'VOLT\? 0'|does not answer"):
        dialogue(script).number("VOLT? 0", 0.001)


def test_answers_that_never_agree_are_an_error() -> None:
    script = Script(*[event for k in range(12) for event in (IDENTITY, f"{k}.0")])
    with pytest.raises(fc.DeviceError, match=r"answers '11\.0'"):
        dialogue(script).number("VOLT? 0", 0.001)
