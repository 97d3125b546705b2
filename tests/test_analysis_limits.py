"""What the user's function may not do: take all time or memory. It is reported, and the process goes on."""

import resource
import time

import pytest
from analysis_session import HEADER, MIB, check, record, spiral

from fastcap.words import phase
from fastcap.workers.limits import Limits

pytest_plugins = ("analysis_fixtures",)


@pytest.mark.parametrize("name", ["sleeps", "sleeps_on_a_block"])
def test_a_function_that_takes_too_long_is_interrupted(shared, name):
    words = spiral(20_000)
    record(shared, words, analyse=f"user_functions:{name}", timeout_s=0.5)
    result = shared.result()

    error = result["function"]["error"]
    assert error["type"] == "FunctionTimeout"
    assert "time limit of 0.5 s" in error["message"]
    assert "time.sleep(1000)" in error["traceback"]
    assert result["function"]["seconds"] >= 0.5
    check(result, words, phase(words))


def test_waiting_for_blocks_takes_none_of_the_functions_time(shared):
    shared.analyse(analyse="user_functions:collects", timeout_s=0.3)
    shared.begin()
    shared.write(HEADER + spiral(70_000).tobytes())
    until = time.monotonic() + 0.7
    shared.until(lambda: time.monotonic() > until)
    shared.write(spiral(1000).tobytes())
    shared.finish()

    assert sum(shared.result()["function"]["result"]["words"]) == 71_000


def test_the_limit_of_memory_ends_with_the_function():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with Limits(None, 1 << 30).memory():
        assert resource.getrlimit(resource.RLIMIT_DATA) != before
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_function_that_takes_too_much_memory_gets_a_memory_error(shared):
    words = spiral(20_000)
    record(shared, words, analyse="user_functions:hogs", memory_bytes=64 * MIB)
    result = shared.result()

    error = result["function"]["error"]
    assert error["type"] in ("MemoryError", "_ArrayMemoryError")
    assert "the function may allocate 64 MiB; let it take less, or give it more" in error["message"]
    check(result, words, phase(words))


def test_the_next_recordings_function_is_not_the_worse_for_it(shared):
    record(shared, spiral(1000), analyse="user_functions:hogs", memory_bytes=64 * MIB)
    shared.result()
    record(shared, spiral(1000), analyse="user_functions:sleeps", timeout_s=0.2)
    shared.result()
    record(shared, spiral(1000), analyse="user_functions:nothing")

    assert "returned None" in shared.result()["function"]["error"]["message"]


def test_the_memory_killer_and_the_scheduler_take_the_analysis_first(shared):
    pid = shared.analysis.process.pid
    with open(f"/proc/{pid}/oom_score_adj") as f:
        assert f.read().strip() == "1000"
    with open(f"/proc/{pid}/stat") as f, open(f"/proc/{shared.reader.process.pid}/stat") as reader:
        nice, others = (int(x.read().rpartition(")")[2].split()[16]) for x in (f, reader))
    assert nice > others


def test_a_lossy_analysis_holds_nothing_back(shared):
    slot = shared.analyse(lossless=False)
    assert not shared.ring.slot_state(slot)["lossless"]
    words = spiral(20_000)
    shared.begin()
    shared.write(HEADER + words.tobytes())
    shared.finish()
    result = shared.result()

    assert result["lossless"] is False
    check(result, words, phase(words))
