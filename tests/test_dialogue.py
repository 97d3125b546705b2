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


def test_interrupted_question_s_answer_is_not_the_next_one_s() -> None:
    script = Script(IDENTITY, KeyboardInterrupt, "7.0", IDENTITY, "1.0", IDENTITY, "1.0")
    it = dialogue(script)
    with pytest.raises(KeyboardInterrupt):
        it.number("VOLT? 0", 0.001)
    script.sent.clear()

    assert it.number("VOLT? 1", 0.001) == 1.0

    assert script.sent == ["*IDN?", "VOLT? 1", "*IDN?", "VOLT? 1"]
    assert not script.events


@pytest.mark.parametrize("heard", [[], ["help", KeyboardInterrupt], ["help", "of three lines", None]])
def test_line_of_a_long_answer_is_not_the_next_question_s(heard: list) -> None:
    script = Script(IDENTITY, *(heard or [KeyboardInterrupt]), "7.0", IDENTITY, "1.0", IDENTITY, "1.0")
    it = dialogue(script)
    try:
        assert it.listen("HELP") == ["help", "of three lines"]
    except KeyboardInterrupt:
        assert heard[-1:] != [None]
    script.sent.clear()

    assert it.number("VOLT? 1", 0.001) == 1.0

    assert script.sent == ["*IDN?", "VOLT? 1", "*IDN?", "VOLT? 1"]


def test_answer_from_before_a_connection_was_lost_is_not_the_next_one_s() -> None:
    script = Script(IDENTITY, "1.0", IDENTITY, "1.0", *OPENING, "7.0", IDENTITY)
    it = dialogue(script)
    assert it.number("VOLT? 0", 0.001) == 1.0
    script.close()

    it.tell("VOLT 0 1")

    assert script.sent[-2:] == ["*IDN?", "VOLT 0 1"]
    assert not script.events


def test_identity_that_was_due_on_a_lost_connection_is_not_waited_for_on_the_next() -> None:
    script = Script(KeyboardInterrupt, *OPENING, IDENTITY)
    it = dialogue(script)
    with pytest.raises(KeyboardInterrupt):
        it.barrier()
    script.close()

    it.barrier()

    assert not script.events


def test_no_barrier_stands_between_two_answers_that_agree_and_what_is_said_next() -> None:
    script = Script(IDENTITY, "1.0", IDENTITY, "1.0")
    it = dialogue(script)
    it.number("VOLT? 0", 0.001)
    script.sent.clear()

    it.tell("VOLT 0 1")

    assert script.sent == ["VOLT 0 1"]


def test_barrier_that_is_asked_for_is_made_though_nothing_was_unexpected() -> None:
    script = Script(IDENTITY, "1.0", IDENTITY, "1.0", IDENTITY)
    it = dialogue(script)
    it.number("VOLT? 0", 0.001)
    script.sent.clear()

    it.barrier()

    assert script.sent == ["*IDN?"]


def test_two_readings_in_a_row_must_agree_whatever_came_before() -> None:
    script = Script(IDENTITY, "5.0", IDENTITY, "1.0", IDENTITY, "1.0004")
    assert dialogue(script).number("VOLT? 0", 0.0005) == 1.0004
    script = Script(IDENTITY, "5.0", IDENTITY, "1.0", IDENTITY, "5.0", IDENTITY, "5.0")
    assert dialogue(script).number("VOLT? 0", 0.0005) == 5.0
    assert not script.events


def test_two_silences_are_no_text_that_agrees() -> None:
    script = Script(IDENTITY, None, IDENTITY, None, IDENTITY, "CURR", IDENTITY, "CURR")
    assert dialogue(script).text("MODE?") == "CURR"
    assert not script.events


@pytest.mark.parametrize("answers", ["another", KeyboardInterrupt])
def test_connection_to_what_is_not_the_device_is_closed(answers: str | type[BaseException]) -> None:
    script = Script()
    script.events = deque([None, answers, None, None, answers, None])
    with pytest.raises((fc.DeviceError, KeyboardInterrupt)):
        dialogue(script)
    assert not script.is_open
