import fcntl
import json
import os
import select
import signal
import socket
import time

import numpy as np
import pytest
from board_checks import AT_ONCE, COUNTER, DEADLINE_S, TWO_MHZ, check_accounts

from fastcap.stream import header_bytes, parse_header

pytest_plugins = ["emulated_board"]


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


def test_words_come_at_the_nominal_rate_and_each_at_its_time(start, finish):
    process = start("-q", "2000000", *COUNTER)
    arrivals = []
    taken = 0
    while data := os.read(process.stdout.fileno(), 1 << 16):
        taken += len(data)
        arrivals.append((time.monotonic_ns(), taken))
    report = finish(process).report
    times_ns, taken_bytes = np.array(arrivals).T
    words = (taken_bytes - report["header_bytes"]) / 8
    ages_s = (times_ns - report["started_monotonic_ns"]) / 1e9 - words / 2e6

    assert words[-1] == 2_000_000
    assert np.polyfit(times_ns / 1e9, words, 1)[0] == pytest.approx(2e6, rel=0.1)
    assert ages_s.min() > -1e-6
    assert np.median(ages_s) < 0.010


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
