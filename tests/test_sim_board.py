import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest

from fastcap.errors import ConfigError, StreamFormatError
from fastcap.sim.faults import parse_fault, parse_rate_hz, parse_size_bytes, parse_time_s
from fastcap.stream import header_bytes, parse_header
from fastcap.words import encode, phase, radius

DEADLINE_S = 60
COMMAND = [sys.executable, "-m", "fastcap.sim.board"]
TWO_MHZ = ["-s4", "-lb"]
COUNTER = [*TWO_MHZ, "--pattern", "counter"]
AT_ONCE = [*COUNTER, "--speed", "max"]


class Run(msgspec.Struct):
    raw: bytes
    status: int
    stderr: str
    report: dict

    @property
    def words(self):
        data = self.raw[header_bytes(self.raw) :]
        return np.frombuffer(data[: len(data) // 8 * 8], dtype="<u8")


@pytest.fixture
def start(tmp_path):
    """Start an emulated board; whatever happens, none is left running."""
    started = []

    def start(*flags, stdout=subprocess.PIPE, **kwargs):
        argv = [*COMMAND, *flags, "--report", str(tmp_path / "report.json")]
        started.append(subprocess.Popen(argv, stdout=stdout, stderr=subprocess.PIPE, bufsize=0, **kwargs))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def finish(tmp_path):
    """Read a board to its end."""

    def finish(process, begin=b""):
        raw, stderr = process.communicate(timeout=DEADLINE_S)
        path = tmp_path / "report.json"
        report = json.loads(path.read_text()) if path.exists() else {}
        return Run(begin + (raw or b""), process.returncode, stderr.decode(), report)

    return finish


@pytest.fixture
def emulate(start, finish):
    return lambda *flags, **kwargs: finish(start(*flags, **kwargs))


def check_accounts(run):
    """Assert that every word made was written, lost or left, and that the counter pattern shows just that."""
    report, words = run.report, run.words
    lost = report["words_lost_overflow"] + report["words_lost_fault"]
    assert report["words_made"] == report["words_written"] + lost + report["words_left"]
    assert report["words_written"] == len(words)
    assert report["bytes_written"] == len(run.raw)
    steps = np.diff(words.astype(np.int64))
    assert (steps > 0).all()
    return steps


def gaps(words):
    """Return first missing word and count of every gap in a counter pattern."""
    padded = np.concatenate([[-1], words.astype(np.int64)])
    at = np.flatnonzero(np.diff(padded) != 1)
    return [(int(padded[k]) + 1, int(padded[k + 1] - padded[k]) - 1) for k in at]


def test_counter_pattern_has_every_word_behind_a_true_header(emulate):
    run = emulate("-U", "/dev/my -h # board", "-q", "300001", *COUNTER)
    header = parse_header(run.raw)

    assert run.status == 0
    np.testing.assert_array_equal(run.words, np.arange(300_001))
    assert len(run.raw) == header.header_bytes + 8 * 300_001
    assert header.device == "/dev/my -h # board"
    assert (header.sample_rate_hz, header.num_words, header.warnings) == (2_000_000, 300_001, ())
    assert abs(header.start.timestamp() - time.time()) < DEADLINE_S
    assert run.stderr == "fastcap-teststream: words=300001 written=300001 lost_overflow=0 lost_fault=0\n"


@pytest.mark.parametrize("extra", [["--chunk", "7"], ["--chunk", "random:3"], ["--speed", "max"]])
@pytest.mark.parametrize("pattern", ["counter", "signal"])
def test_write_sizes_and_pace_do_not_change_the_stream(emulate, pattern, extra):
    flags = ["-q", "30011", *TWO_MHZ, "--pattern", pattern, "--seed", "5"]
    plain, other = emulate(*flags), emulate(*flags, *extra)

    assert len(plain.raw) == len(other.raw)
    assert plain.words.tobytes() == other.words.tobytes()


def test_writes_have_the_size_asked_for(start):
    ours, boards = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    start("-q", "100", *AT_ONCE, "--chunk", "13", stdout=boards)
    boards.close()
    sizes = []
    with ours:
        ours.settimeout(DEADLINE_S)
        while packet := ours.recv(1 << 16):
            sizes.append(len(packet))

    assert max(sizes) == 13
    assert len(sizes) > 800 // 13


def test_a_socket_as_output_carries_the_whole_stream(start):
    ours, boards = socket.socketpair()
    start("-q", "200000", *AT_ONCE, stdout=boards)
    boards.close()
    with ours, ours.makefile("rb") as file:
        ours.settimeout(DEADLINE_S)
        raw = file.read()

    np.testing.assert_array_equal(np.frombuffer(raw[header_bytes(raw) :], "<u8"), np.arange(200_000))


def test_signal_has_the_radius_asked_for_after_a_transient(emulate):
    run = emulate(
        "-q",
        "60000",
        *TWO_MHZ,
        "--speed",
        "max",
        "--radius",
        "3e6",
        "--noise",
        "1000",
        "--transient",
        "20000",
    )
    r = radius(run.words)

    assert r[20_000:].mean() == pytest.approx(3e6, rel=1e-4)
    assert r[20_000:].std() == pytest.approx(1000, rel=0.05)
    assert r[:10_000].mean() < 2.5e6


def test_signal_is_a_beat_without_jumps_that_rolls_over(emulate):
    run = emulate("-q", "1000000", *TWO_MHZ, "--speed", "max", "--freq", "400000", "--transient", "0")
    p = phase(run.words)
    steps = np.diff(p)

    assert p[-1] - p[0] == pytest.approx(200_000, rel=1e-4)
    assert steps.mean() == pytest.approx(0.2, rel=1e-4)
    assert np.abs(steps - 0.2).max() < 0.01


@pytest.mark.parametrize("radius_counts", ["0", "3", "1000", "8388607"])
def test_signal_is_what_the_encoder_would_write(emulate, radius_counts):
    flags = ["--freq=-777777", "--noise", "2.5", "--radius", radius_counts]
    words = emulate("-q", "50000", *TWO_MHZ, "--speed", "max", *flags).words
    some = radius(words) > 0
    if radius_counts == "0":
        assert some.any()
    alone = -np.arctan2((words.view("i8") << 16) >> 40, (words.view("i8") << 40) >> 40) / (2 * np.pi)
    p = alone - (words.view("i8") >> 48)
    fits = np.abs(radius(words)) < 8_388_607

    np.testing.assert_array_equal(encode(p[some & fits], radius(words)[some & fits]), words[some & fits])


def test_seed_changes_the_noise_and_nothing_else_does(emulate):
    flags = ["-q", "5000", *TWO_MHZ, "--speed", "max"]

    assert emulate(*flags).raw[-40_000:] == emulate(*flags, "--seed", "1").raw[-40_000:]
    assert emulate(*flags).raw[-40_000:] != emulate(*flags, "--seed", "2").raw[-40_000:]


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


def test_lost_words_do_not_shift_the_signal(emulate):
    flags = ["-q", "20000", *TWO_MHZ, "--speed", "max"]
    whole, holed = emulate(*flags).words, emulate(*flags, "--fault", "lose@5001:777").words

    np.testing.assert_array_equal(holed[:5001], whole[:5001])
    np.testing.assert_array_equal(holed[5001 : 20_000 - 777], whole[5778:])


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
    process = start("-q", "500000", *COUNTER, "-v", "1", "--fifo", "64KiB")
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


def test_words_come_at_the_nominal_rate(start):
    process = start("-q", "0", *COUNTER)
    arrivals = []
    taken = 0
    begin_s = time.monotonic()
    while taken < 16_000_000:
        taken += len(os.read(process.stdout.fileno(), 1 << 16))
        arrivals.append((time.monotonic() - begin_s, taken))
    times, counts = np.array(arrivals[len(arrivals) // 10 :]).T

    assert np.polyfit(times, counts / 8, 1)[0] == pytest.approx(2e6, rel=0.1)


@pytest.mark.parametrize(
    ("rate", "exact", "flag"),
    [("2MHz", 2e6, "-l"), ("20e6", 2e7, "-h"), ("1Hz", 1, "-l"), ("4MHz", 4e6, "-h")],
)
def test_rate_asked_for_is_the_one_the_header_tells(emulate, rate, exact, flag):
    run = emulate("-q", "10", "--speed", "max", "--rate", rate, "-U", "x y", "-v", "0", "-s", "99")
    header = parse_header(run.raw)

    assert header.sample_rate_hz == exact
    assert flag in header.argv
    assert (header.device, header.num_words) == ("x y", 10)


def test_rate_that_no_header_can_tell_is_refused(emulate):
    run = emulate("--rate", "3MHz", *TWO_MHZ)

    assert run.status == 2
    assert "3e+06 Hz" in run.stderr


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


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["-x"], "-b"),
        (["-A", "-q", "5"], "-b"),
        (["--nonsense"], "--nonsense"),
        (["stray"], "stray"),
        (["-q", "many"], "many"),
        (["-q"], "-q"),
        (["-v", "loud"], "loud"),
        (["--fault", "stall@2"], "stall@2"),
        (["--fault", "exit@2:256"], "256"),
        (["--fault", "die@2+8"], "die@2"),
        (["--fault", "stall@2:3parsec"], "3parsec"),
        (["--pattern", "square"], "square"),
        (["--chunk", "0"], "--chunk"),
        (["--fifo", "big"], "big"),
        (["--radius", "1e9"], "1e9"),
        (["--radius", "wide"], "wide"),
        (["--freq", "2e7"], "2e\\+07"),
        (["-o", "/nowhere/file"], "/nowhere/file"),
        (["-U", "a\nb"], "line break"),
    ],
)
def test_wrong_usage_is_one_line_and_status_two(emulate, flags, word):
    run = emulate("-l", *flags)

    assert (run.status, run.raw) == (2, b"")
    assert run.stderr.startswith("fastcap-teststream: error: ")
    assert run.stderr.count("\n") == 1
    assert word.replace("\\", "") in run.stderr


def test_h_is_the_fast_clock_and_help_is_spelt_out(emulate):
    assert parse_header(emulate("-q1", "-h", "-b", "--speed", "max").raw).sample_rate_hz == 20_000_000
    helped = emulate("--help")
    assert helped.status == 0
    assert b"stall@WORD:TIME" in helped.raw


def test_terminal_is_refused(emulate):
    ours, boards = pty.openpty()
    try:
        run = emulate(*COUNTER, stdout=boards)
    finally:
        os.close(ours)
        os.close(boards)

    assert run.status == 2
    assert "terminal" in run.stderr


def test_output_file_takes_the_stream(emulate, tmp_path):
    run = emulate("-q", "20000", *AT_ONCE, "-o", str(tmp_path / "out.bin"))
    raw = (tmp_path / "out.bin").read_bytes()

    assert run.raw == b""
    np.testing.assert_array_equal(np.frombuffer(raw[header_bytes(raw) :], "<u8"), np.arange(20_000))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("speed", ["max", "realtime"])
def test_signal_ends_it_quietly_by_that_signal(start, finish, signum, speed):
    process = start(*COUNTER, "--speed", speed)
    begin = process.stdout.read(4096)
    process.send_signal(signum)
    run = finish(process, begin)

    assert run.status == -signum
    assert run.stderr.count("\n") == 1
    assert check_accounts(run).max() == 1


def test_signal_ends_it_while_its_reader_takes_nothing(start, finish):
    process = start(*AT_ONCE)
    process.stdout.read(8)
    process.send_signal(signal.SIGTERM)

    assert select.select([process.stderr], [], [], DEADLINE_S)[0], "nothing was said after SIGTERM"
    assert process.wait(DEADLINE_S) == -signal.SIGTERM


def test_ignored_interrupt_stays_ignored(start, finish):
    process = start("-q", "200000", *COUNTER, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    begin = process.stdout.read(4096)
    process.send_signal(signal.SIGINT)

    assert finish(process, begin).status == 0


@pytest.mark.parametrize("speed", ["max", "realtime"])
def test_reader_that_goes_away_ends_it_by_sigpipe(start, speed):
    process = start(*COUNTER, "--speed", speed)
    process.stdout.read(4096)
    process.stdout.close()

    assert process.wait(DEADLINE_S) == -signal.SIGPIPE
    assert process.stderr.read().count(b"\n") == 1


def test_full_disk_is_an_error_with_what_was_written(emulate):
    with open("/dev/full", "wb") as full:
        run = emulate(*AT_ONCE, stdout=full)

    assert run.status == 1
    assert "No space left" in run.stderr or "cannot write" in run.stderr


def test_flood_on_stderr_leaves_the_stream_whole(emulate):
    run = emulate("-q", "300000", *COUNTER, "--stderr-flood")

    assert len(run.stderr) > 50_000
    np.testing.assert_array_equal(run.words, np.arange(300_000))


def test_the_shared_end_of_the_pipe_stays_blocking(start):
    ours, boards = os.pipe()
    process = start("-q", "0", *COUNTER, stdout=boards)
    try:
        os.read(ours, 8)
        assert not fcntl.fcntl(boards, fcntl.F_GETFL) & os.O_NONBLOCK
    finally:
        process.kill()
        os.close(ours)
        os.close(boards)


def test_report_goes_to_a_descriptor_too(start):
    ours, boards = os.pipe()
    process = start("-q", "10", *AT_ONCE, "--report-fd", str(boards), pass_fds=[boards])
    os.close(boards)
    with open(ours, "rb") as file:
        report = json.load(file)
    process.communicate(timeout=DEADLINE_S)

    assert report["words_written"] == 10


def test_quantities_are_read_exactly():
    assert parse_time_s("200ms") * 5 == parse_time_s("1") == 1
    assert parse_time_s("0.1") * 10 == 1
    assert parse_size_bytes("8MiB") == 1 << 23
    assert parse_rate_hz("2MHz") == parse_rate_hz("2e6") == 2_000_000
    assert parse_fault("stall@2000000:3s").amount == 3_000_000_000
    for wrong in ("", "-3s", "3 parsecs", "nan", "1e999"):
        with pytest.raises(ConfigError):
            parse_time_s(wrong)
