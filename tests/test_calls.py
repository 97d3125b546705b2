"""What a writer measured of its calls reaches its successor by way of the supervisor."""

from __future__ import annotations

from fastcap.workers.calls import STALL_NS, Calls
from fastcap.workers.recording import Recording

SECOND_NS = 1_000_000_000


def test_stalls_that_are_told_in_parts_are_whole_for_a_successor() -> None:
    calls, recording = Calls([], None), Recording.__new__(Recording)
    recording.sink_so_far = None
    told = 0
    for number in range(5):
        calls.note(number * SECOND_NS, STALL_NS, calls.write_s)
        if number != 2:  # two at once
            message = calls.so_far(0, told)
            assert len(message["stalls"]) == len(calls.stalls) - told
            recording.take_so_far(message)
            told = len(calls.stalls)
    successor = Calls([], recording.sink_so_far)
    successor.take_over(0)

    assert [stall["at_s"] for stall in successor.stalls] == [0, 1, 2, 3, 4]
    assert successor.report()["write_s"]["count"] == 5


def test_stalls_of_the_file_before_are_not_the_next_ones() -> None:
    calls, recording = Calls([], None), Recording.__new__(Recording)
    recording.sink_so_far = None
    calls.note(0, STALL_NS, calls.write_s)
    recording.take_so_far(calls.so_far(0, 0))
    calls.new_file()
    recording.take_so_far(calls.so_far(1, 0))

    successor = Calls([], recording.sink_so_far)
    successor.take_over(1)
    assert successor.stalls == []
