"""The user's function in the analysis process: what it is given, and what becomes of its result."""

import base64
import os

import cloudpickle
import numpy as np
import pytest
from analysis_session import ARGV, HEADER, MIB, assert_just_now, check, record, spiral

from fastcap._ring import Slot
from fastcap.words import phase, radius

pytest_plugins = ("analysis_fixtures",)


def test_the_function_sees_the_recording_in_ring_memory(shared):
    words = spiral(100_000)
    record(shared, words, analyse="user_functions:means", meta={"volt": "1.5"})
    function = shared.result()["function"]

    assert function["name"] == "user_functions:means"
    assert function["seconds"] > 0
    assert_just_now(function["result"].pop("start"))
    assert function["result"] == {
        "mean": radius(words).mean(), "n": 100_000, "first": int(words[0]), "rate": 2e6,
        "from_file": False, "meta": {"volt": "1.5"}, "argv": list(ARGV), "phase": phase(words)[-1],
        "gaps": [], "array": radius(words)[:3].tolist(), "nan": None, "yes": True, "none": None,
        "matrix": [[1, 2], [3, 4]], "infinite": [None], "path": True,
    }  # fmt: skip
    assert "said by the function" in shared.analysis.said()


def test_a_pickled_function_of_a_notebook_is_called(shared):
    factor = 3
    pickled = base64.b64encode(cloudpickle.dumps(lambda tr: {"n": factor * len(tr)})).decode()
    record(shared, spiral(1000), pickled=pickled, path=None)
    function = shared.result()["function"]

    assert function["result"] == {"n": 3000}
    assert "lambda" in function["name"]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("user_functions:raises", "ZeroDivisionError", "division by zero"),
        ("user_functions:leaves", "SystemExit", "wants to leave"),
        ("user_functions:nothing", "TypeError", "returned None; return a dict"),
        ("user_functions:strange", "TypeError", "result['deep'][0]['x'] is of type 'object'"),
        ("user_functions:complex_value", "TypeError", "result['z'] is of type 'complex'"),
        ("user_functions:too_much", "ValueError", "more than 1,000,000 values (at result['words'])"),
        ("user_functions:same_keys", "ValueError", "keys that are the same"),
        ("user_functions:number", "TypeError", "'user_functions:number' is of type 'int'"),
        ("user_functions:missing", "AttributeError", "there is no 'missing' in"),
        ("no_such_module:f", "ModuleNotFoundError", "no_such_module"),
    ],
)
def test_an_error_of_the_function_is_part_of_the_result(shared, name, kind, message):
    words = spiral(20_000)
    record(shared, words, analyse=name)
    result = shared.result()

    error = result["function"]["error"]
    assert error["type"] == kind
    assert message in error["message"]
    assert kind in error["traceback"]
    assert "result" not in result["function"]
    check(result, words, phase(words))


def test_a_traceback_begins_in_the_users_code(shared):
    record(shared, spiral(10), analyse="user_functions:raises")
    lines = shared.result()["function"]["error"]["traceback"].splitlines()

    assert "user_functions.py" in lines[1]
    assert "1 / (len(tr) - len(tr))" in lines[2]


@pytest.mark.parametrize("hold", [True, False])
def test_a_recording_that_left_the_ring_is_analysed_from_its_file(shared, hold, tmp_path):
    words = spiral(1_000_000)  # twice the ring
    slot = shared.analyse(analyse="user_functions:means", hold=hold)
    shared.begin()
    shared.write_paced(HEADER + words.tobytes(), slot)
    shared.finish()
    assert shared.analysis.expect("need_file")["recording"] == shared.number
    shared.until(lambda: shared.ring.slot_state(slot)["state"] == "FREE")  # waiting holds no memory
    other = Slot.claim(shared.ring, 0)
    path = tmp_path / "a.bin"
    path.write_bytes(HEADER + words.tobytes())
    shared.tell(shared.analysis, {"op": "file", "paths": [str(path)]})
    result = shared.result()

    assert (other.index, shared.ring.slot_state(slot)["state"]) == (slot, "ACTIVE")
    other.leave()
    assert result["function"]["result"]["from_file"]
    assert result["function"]["result"]["mean"] == radius(words).mean()
    assert (result["missed_words"], result["lossless"]) == (0, True)


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [(None, "RingError", "was not written"), ("/none.bin", "StreamFormatError", "No such file")],
)
def test_without_a_file_the_error_says_why(shared, path, kind, message):
    shared.analyse(analyse="user_functions:means")
    shared.begin()
    shared.write_paced(HEADER + bytes(8 * MIB))
    shared.finish()
    shared.analysis.expect("need_file")
    shared.tell(shared.analysis, {"op": "file", "paths": [path] if path else []})
    error = shared.result()["function"]["error"]

    assert error["type"] == kind
    assert message in error["message"]


def call_while_the_next_recording_needs_memory(session, words, next_bytes):
    """Have a function look at ``words`` in the ring before and after ``next_bytes`` more have arrived."""
    busy, go = (os.path.join(session.folder, name) for name in ("busy", "go"))
    os.mkfifo(busy)
    os.mkfifo(go)
    record(session, words, analyse="user_functions:waits")
    with open(busy) as f:
        assert f.read() == "busy"
    os.unlink(busy)
    session.begin()
    session.write_paced(bytes(next_bytes))
    assert session.finish()["words_lost"] == 0
    with open(go, "w") as f:
        f.write("go")
    session.number -= 1


def test_a_held_recording_stays_until_the_function_returns(start):
    session = start(2 * MIB)
    words = np.arange(1, 50_001, dtype=np.uint64)
    call_while_the_next_recording_needs_memory(session, words, 2 * MIB * 13 // 16 - words.nbytes)
    result = session.result()

    xor = int(np.bitwise_xor.reduce(words))
    assert result["function"]["result"] == {"first": 1, "sum": xor, "from_file": False}


def test_a_function_whose_words_were_overwritten_is_called_again_with_the_file(start, tmp_path):
    session = start(2 * MIB)
    words = np.arange(1, 100_001, dtype=np.uint64)
    call_while_the_next_recording_needs_memory(session, words, 8 * MIB)
    session.analysis.expect("need_file")
    path = tmp_path / "a.bin"
    path.write_bytes(HEADER + words.tobytes())
    session.tell(session.analysis, {"op": "file", "paths": [str(path)]})

    xor = int(np.bitwise_xor.reduce(words))
    assert session.result()["function"]["result"] == {"first": 1, "sum": xor, "from_file": True}
