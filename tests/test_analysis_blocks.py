"""Functions of blocks: they see the words of a running recording as they come."""

import numpy as np
import pytest
from analysis_session import ARGV, HEADER, MIB, assert_just_now, check, record, spiral

from fastcap.words import phase, radius

pytest_plugins = ("analysis_fixtures",)


def test_a_function_of_blocks_sees_every_word_once_and_in_order(shared):
    words = spiral(150_000)
    record(shared, words, analyse="user_functions:collects", meta={"volt": "1.5"})
    result = shared.result()
    assert "error" not in result["function"], result["function"]
    seen = result["function"]["result"]

    assert seen["sum"] == int(np.bitwise_xor.reduce(words))
    assert seen["index"] == np.cumsum([0, *seen["words"][:-1]]).tolist()
    assert sum(seen["words"]) == len(words)
    assert set(seen["gap_before"]) == {0}
    assert seen["phase"] == phase(words)[-1]
    assert_just_now(seen["start"])
    assert (seen["rate"], seen["meta"]) == (2e6, {"volt": "1.5"})
    assert (seen["argv"], seen["missed"]) == (list(ARGV), 0)
    check(result, words, phase(words))


def test_it_runs_while_the_recording_does(shared):
    shared.analyse(analyse="user_functions:has_enough")
    shared.begin()
    shared.write(HEADER + spiral(70_000).tobytes())
    shared.until(lambda: "live" in [m["op"] for m in shared.analysis.heard] or shared.analysis.expect("live"))
    shared.write(spiral(1000).tobytes())
    shared.finish()
    result = shared.result()

    assert result["function"]["result"] == {"first": int(spiral(70_000)[0])}
    assert result["words"] == 71_000  # the statistics went on without it


def test_blocks_stay_valid_however_long_they_are_kept(start):
    session = start(MIB)
    words = spiral(400_000)  # three times the ring
    slot = session.analyse(analyse="user_functions:keeps")
    session.begin()
    session.write_paced(HEADER + words.tobytes(), slot)
    session.finish()
    result = session.result()

    assert result["missed_words"] == 0
    assert result["function"]["result"]["first"][0] == int(words[0])
    assert result["function"]["result"]["radius"] == pytest.approx(radius(words).sum(), rel=1e-12)


def test_an_error_on_a_block_leaves_the_statistics_whole(shared):
    words = spiral(100_000)
    record(shared, words, analyse="user_functions:fails_on_a_block")
    result = shared.result()

    assert result["function"]["error"]["type"] == "ZeroDivisionError"
    check(result, words, phase(words))


def test_a_gap_is_told_with_the_block_behind_it(start):
    session = start(MIB)
    slot = session.analyse(analyse="user_functions:collects")
    session.begin()
    words = spiral(1_200_000)
    session.write(HEADER + words[:50_000].tobytes())
    session.until(lambda: session.ring.slot_state(slot)["cursor"] == session.start + len(HEADER) + 400_000)
    session.analysis.stop_now()
    session.write_paced(words[50_000:].tobytes())
    session.finish()
    session.analysis.process.send_signal(18)
    result = session.result()
    seen = result["function"]["result"]

    assert seen["missed"] == result["missed_words"] > 0
    assert sum(seen["gap_before"]) == result["missed_words"]
    assert seen["index"][-1] + seen["words"][-1] == len(words)
    k = next(k for k, gap in enumerate(seen["gap_before"]) if gap)
    assert seen["index"][k] == seen["index"][k - 1] + seen["words"][k - 1] + seen["gap_before"][k]


def test_a_cancelled_function_of_blocks_cannot_hold_on(shared):
    shared.analyse(analyse="user_functions:catches_all")
    shared.begin()
    shared.write(HEADER)
    shared.tell(shared.analysis, {"op": "cancel", "recording": shared.number})
    message = shared.analysis.expect("analysis")
    shared.finish()

    assert message["result"] == {"cancelled": True}


def test_a_recording_without_words_has_no_blocks(shared):
    record(shared, np.empty(0, np.uint64), analyse="user_functions:catches_all")

    assert shared.result()["function"]["result"] == {"caught": None}
