import fcntl

import numpy as np
import pytest
from board_checks import AT_ONCE, COUNTER, TWO_MHZ, check_accounts, gaps

from fastcap.errors import ConfigError, StreamFormatError
from fastcap.sim.faults import parse_fault, parse_rate_hz, parse_size_bytes, parse_time_s
from fastcap.stream import parse_header

pytest_plugins = ["emulated_board"]


@pytest.mark.parametrize("speed", ["max", "realtime"])
def test_lost_words_are_missing_and_the_count_of_words_is_still_reached(emulate, speed):
    run = emulate(
        "-q", "50000", *COUNTER, "--speed", speed, "--fault", "lose@40000:1000", "--fault", "lose@0:3"
    )

    assert run.status == 0
    assert gaps(run.words) == [(0, 3), (40_000, 1000)]
    assert len(run.words) == 50_000
    check_accounts(run)
    assert run.report["words_lost_fault"] == 1003


@pytest.mark.parametrize("extra", [0, 3, 7])
@pytest.mark.parametrize("speed", ["max", "realtime"])
def test_death_in_the_middle_of_a_word_leaves_its_first_bytes(emulate, speed, extra):
    run = emulate("-q", "9000000", *COUNTER, "--speed", speed, "--fault", f"die@70001+{extra}")

    assert run.status == 1
    assert len(run.raw) == run.report["header_bytes"] + 70_001 * 8 + extra
    np.testing.assert_array_equal(run.words, np.arange(70_001))
    assert run.raw[len(run.raw) - extra :] == (70_001).to_bytes(8, "little")[:extra]
    assert run.report["words_written"] == 70_001


@pytest.mark.parametrize(("word", "status"), [(0, 4), (12_345, 255), (50_000, 7), (50_001, 0)])
def test_exit_before_a_word_has_the_status_asked_for(emulate, word, status):
    run = emulate("-q", "50000", *AT_ONCE, "--fault", f"exit@{word}:{status}")

    assert run.status == run.report["exit_status"] == status
    np.testing.assert_array_equal(run.words, np.arange(min(word, 50_000)))


def test_stall_loses_what_the_fifo_cannot_hold(emulate):
    run = emulate("-q", "400000", *COUNTER, "--fifo", "2MiB", "--fault", "stall@20000:500ms")
    check_accounts(run)
    first, lost = gaps(run.words)[0]

    assert run.status == 0
    assert first == 20_000 + 262_144
    assert lost >= 1_000_000 - 262_144
    assert sum(count for _, count in gaps(run.words)) == run.report["words_lost_overflow"]
    assert run.report["fifo_high_water_words"] == 262_144
    assert run.report["faults"][0]["after_words"] == 20_000


def test_stall_that_the_fifo_holds_loses_nothing(emulate):
    run = emulate("-q", "300000", *COUNTER, "--fifo", "64MiB", "--fault", "stall@20000:200ms")

    np.testing.assert_array_equal(run.words, np.arange(300_000))
    assert run.report["fifo_high_water_words"] >= 280_000
    check_accounts(run)


def test_stall_at_full_speed_loses_nothing(emulate):
    run = emulate(
        "-q", "300000", *AT_ONCE, "--fifo", "8", "--fault", "stall@20000:1ms", "--fault", "stall@20000:1ms"
    )

    np.testing.assert_array_equal(run.words, np.arange(300_000))
    assert [fault["after_words"] for fault in run.report["faults"]] == [20_000, 20_000]


def test_faults_strike_in_order_of_their_words(emulate):
    faults = ["--fault", "exit@900:9", "--fault", "stall@500:1ms", "--fault", "lose@100:50"]
    run = emulate("-q", "9000", *AT_ONCE, *faults)

    assert run.status == 9
    assert gaps(run.words) == [(100, 50)]
    assert int(run.words[-1]) == 899
    assert run.report["faults"][0]["after_words"] == 450


def test_blocked_reader_overflows_the_fifo_and_every_lost_word_is_counted(start, finish):
    process = start("-q", "500000", *COUNTER, "--chatter", "--fifo", "64KiB")
    capacity = fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ)
    while b"fifo holds" not in (line := process.stderr.readline()):
        assert line, "the board ended before it spoke of its FIFO"
    assert int(line.split()[3]) == 8192

    run = finish(process)
    check_accounts(run)
    first = gaps(run.words)[0][0]
    assert run.status == 0
    assert sum(count for _, count in gaps(run.words)) == run.report["words_lost_overflow"] > 0
    assert 8192 <= first <= 8192 + capacity // 8


@pytest.mark.parametrize("kind", ["torn", "missing", "garbage"])
@pytest.mark.parametrize("pattern", ["signal", "counter"])
def test_broken_header_is_broken_and_the_data_follow(emulate, kind, pattern):
    run = emulate("-q", "5000", *TWO_MHZ, "--speed", "max", "--pattern", pattern, "--header", kind)
    whole = emulate("-q", "5000", *TWO_MHZ, "--speed", "max", "--pattern", pattern)

    with pytest.raises(StreamFormatError):
        parse_header(run.raw)
    assert run.raw[-40_000:] == whole.raw[-40_000:]
    assert len(run.raw) - 40_000 == run.report["header_bytes"] > 0


def test_no_header_is_no_header(emulate):
    assert emulate("-q", "3", *AT_ONCE, "--header", "none").raw == np.arange(3, dtype="<u8").tobytes()


def test_quantities_are_read_exactly():
    assert parse_time_s("200ms") * 5 == parse_time_s("1") == 1
    assert parse_time_s("0.1") * 10 == 1
    assert parse_size_bytes("8MiB") == 1 << 23
    assert parse_rate_hz("2MHz") == parse_rate_hz("2e6") == 2_000_000
    assert parse_fault("stall@2000000:3s").amount == 3_000_000_000
    for wrong in ("", "-3s", "3 parsecs", "nan", "1e999"):
        with pytest.raises(ConfigError):
            parse_time_s(wrong)
