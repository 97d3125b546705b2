"""Sources: what they are, what their flags say, and why they could not be started."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_config import DOCS, LAB, LAB_ARGV, TOML
from test_devlock import opens_of

from fastcap.config import load_board_config
from fastcap.errors import ConfigError, FastcapError, SourceError
from fastcap.sources import check_startable, resolve_source, with_length
from fastcap.teststream import parse_board_argv

BOARD = ("teststream", "-U", "/dev/usbhybrid0", "-q", "33554432", "-s", "4", "-l", "-b", "-v", "3")
EMULATOR = (sys.executable, "-P", "-m", "fastcap.sim.board")
NOT_ROOT = 65534


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "teststream.exec"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def device(tmp_path):
    path = tmp_path / "usbhybrid0"
    path.touch()
    return str(path)


def refusal(source, error=ConfigError, **options):
    with pytest.raises(error) as caught:
        resolve_source(source, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def reason(spec):
    with pytest.raises(SourceError) as caught:
        check_startable(spec)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# -- commands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [list, tuple, lambda argv: [Path(argv[0]), *argv[1:]]])
def test_board_command_tells_device_rate_and_length(make):
    spec = resolve_source(make(BOARD))

    assert (spec.kind, spec.argv, spec.cwd) == ("command", BOARD, None)
    assert spec.device == "/dev/usbhybrid0"
    assert spec.rate_pair == (2_000_000, 1)
    assert spec.sample_rate_hz == spec.rate == Fraction(2_000_000)
    assert spec.num_words == 2**25
    assert spec.expect_header is True
    assert spec.can_wait is False
    assert (spec.path, spec.fd, spec.replay_rate_hz) == (None, None, None)


def test_rate_that_is_no_whole_number_stays_exact():
    assert resolve_source(["teststream", "-h", "-s", "2", "-b"]).rate_pair == (20_000_000, 3)


@pytest.mark.parametrize(
    "wrapped",
    [
        ("stdbuf", "-o0", *BOARD),
        ("chrt", "-f", "50", "/opt/teststream.exec", *BOARD[1:]),
        ("sudo", "-A", *BOARD),
        ("./run", "-U", "/dev/teststream", "-s4", "-lb", "-q33554432"),
        ("./run", "-s4", "-lb", "-q33554432", "-F", "teststream", "-U", "/dev/usbhybrid0"),
    ],
)
def test_wrapped_board_program_is_recognised(wrapped):
    spec = resolve_source(wrapped)

    assert spec.sample_rate_hz == 2_000_000
    assert spec.num_words == 2**25
    assert spec.device in ("/dev/usbhybrid0", "/dev/teststream")


@pytest.mark.parametrize(
    "command",
    [
        ("cat", "-A", "teststream.bin"),
        ("curl", "-U", "user:pw", "-o", "x"),
        ("head", "-q", "file"),
        ("sort", "-o", "file", "-h", "-s"),
        ("xxd", "-b"),
    ],
)
def test_other_commands_are_not_taken_for_the_board(command):
    spec = resolve_source(command)

    assert (spec.argv, spec.device, spec.sample_rate_hz, spec.num_words) == (command, None, None, None)
    assert with_length(spec, 5) == spec


def test_rate_of_a_board_program_without_flags_is_unknown():
    assert resolve_source(["teststream", "-b"]).sample_rate_hz is None


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("teststream", "-x"), "-x (hexadecimal output) is not supported"),
        (("teststream", "-bA"), "-A (ascii output) is not supported"),
        (("./prog", "-U", "/dev/x", "-lA"), "-A (ascii"),
        (("teststream", "-b", "-o", "file"), "leave out -o"),
        (("teststream", "-bofile"), "leave out -o"),
        (("fastcap", "sim", "-o", "file"), "leave out -o"),
        (("teststream", "-q", "many"), "-q 'many'"),
        (("teststream", "-b", "-U"), "-U has no value"),
        ((), "command is empty"),
        (("",), "command is empty"),
        (("a", 5), "argument 5"),
        (("a", "b\0c"), "NUL"),
        (("a", b"b"), "texts"),
    ],
)
def test_command_that_cannot_be_is_refused(argv, why):
    assert why in refusal(argv)


@given(st.lists(st.text(max_size=12), max_size=6), st.sampled_from(["teststream", "x", "fastcap"]))
def test_any_command_is_taken_or_refused_in_one_line(arguments, name):
    message = "taken"
    try:
        assert resolve_source([name, *arguments]).argv == (name, *arguments)
    except ConfigError as error:
        message = str(error)
    assert len(message.splitlines()) == 1


# -- length ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (BOARD, (*BOARD[:4], "7", *BOARD[5:])),
        (("teststream", "-lbq8", "-s", "4"), ("teststream", "-lbq7", "-s", "4")),
        (("teststream", "-lbq", "8"), ("teststream", "-lbq", "7")),
        (("teststream", "-q1", "-b", "-q", "2"), ("teststream", "-q7", "-b", "-q", "7")),
        (("teststream", "-U", "-q", "-b"), ("teststream", "-U", "-q", "-b", "-q", "7")),
        (("teststream", "-b", "--", "-q"), ("teststream", "-b", "-q", "7", "--", "-q")),
        (("nice", "-q", "3", *BOARD), ("nice", "-q", "3", *BOARD[:4], "7", *BOARD[5:])),
        (("fastcap", "sim", "-b", "--speed", "max"), ("fastcap", "sim", "-b", "--speed", "max", "-q", "7")),
    ],
)
def test_length_of_a_board_program_is_set(argv, expected):
    spec = with_length(resolve_source(argv), 7)

    assert spec.argv == expected
    assert spec.num_words == 7


@given(
    st.lists(
        st.sampled_from(["-b", "-lb", "-q5", "-q", "5", "-s", "4", "-U", "/dev/x", "-v3", "--speed", "-k"]),
        max_size=7,
    )
)
def test_length_set_is_the_length_read(arguments):
    argv = ["teststream", *arguments]
    try:
        spec = resolve_source(argv)
    except ConfigError:
        return
    changed = with_length(spec, 123)
    before, after = parse_board_argv(argv), parse_board_argv(changed.argv)

    assert after.num_words == 123
    assert (after.skip, after.base_rate_hz, after.device) == (before.skip, before.base_rate_hz, before.device)
    assert after.extra == before.extra


@pytest.mark.parametrize("words", [-1, 2**63])
def test_length_that_no_board_takes_is_refused(words):
    with pytest.raises(ValueError, match="2\\*\\*63"):
        with_length(resolve_source(BOARD), words)


# -- configurations ----------------------------------------------------------------------------------


def test_lab_configuration_is_a_board(tmp_path):
    path = tmp_path / "lab.ini"
    path.write_text(LAB)
    spec = resolve_source(str(path), overrides=["laser_num=7"])

    assert (spec.kind, spec.argv, spec.cwd) == ("command", LAB_ARGV, "/home/lab/vhf")
    assert spec.device == "/home/lab/vhf/vhf_board.softlink"
    assert (spec.sample_rate_hz, spec.num_words) == (2_000_000, 2**25)
    assert (spec.save_dir, spec.num_runs) == ("/mnt/nas/run", 20)
    assert spec.details == {"laser_num": "7"}
    assert spec.config_path == str(path)
    assert "vhf_board.softlink" in spec.label
    assert "lab.ini" in spec.label
    loaded = load_board_config(path, ["laser_num=7"])
    assert spec == resolve_source(path, overrides=["laser_num=7"])
    assert spec == resolve_source(config=path, overrides=["laser_num=7"])
    assert spec == resolve_source(config=loaded)


def test_toml_url_keeps_options_and_details(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('[board]\nsource = "sim://?q=8"\n[capture]\nto = "/d"\n[meta]\na = 1\n')
    spec = resolve_source(path)

    assert (spec.kind, spec.num_words, spec.save_dir) == ("sim", 8, "/d")
    assert spec.details == {"a": "1"}
    assert spec.options == {"to": "/d"}


def test_toml_relative_device_is_seen_from_its_working_directory(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('[board]\ncommand = ["teststream", "-U", "board", "-lb"]\nbase_dir = "/home/lab"\n')

    assert resolve_source(path).device == "/home/lab/board"


@pytest.mark.parametrize(
    ("source", "options", "why"),
    [
        (None, {}, "no source is given"),
        ("nowhere.ini", {}, "nowhere.ini"),
        ("nowhere.toml", {}, "No such file"),
        (BOARD, {"config": "x.ini"}, "both a source"),
        (BOARD, {"overrides": ["a=b"]}, "needs a configuration"),
        ("sim://", {"overrides": ["a=b"]}, "needs a configuration"),
        ("", {}, "give a command as a list"),
        ("a\0b", {}, "give a command as a list"),
        (b"sim://", {}, "not understood"),
        (2.5, {}, "not understood"),
        (True, {}, "not understood"),
        ("teststream -U /dev/x", {}, "a command as a list"),
        ("simm://", {}, "did you mean 'sim://'"),
        ("http://host/file", {}, "sim://, file://"),
    ],
)
def test_what_is_no_source_is_refused(source, options, why):
    assert why in refusal(source, **options)


def test_toml_source_must_be_a_url(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('[board]\nsource = "-"\n')
    assert "[board] source '-'" in refusal(path)


def test_plain_path_is_refused_with_the_url_to_use(tmp_path):
    path = tmp_path / "a b?.bin"
    path.touch()
    message = refusal(path)

    assert f"'file://{tmp_path}/a%20b%3F.bin?rate=2MHz'" in message
    assert resolve_source(f"file://{tmp_path}/a%20b%3F.bin?rate=2MHz").path == str(path)
    assert "is a directory" in refusal(tmp_path)


# -- URLs --------------------------------------------------------------------------------------------


def test_bare_sim_is_the_usual_board():
    spec = resolve_source("sim://")

    assert (spec.kind, spec.label) == ("sim", "emulated board")
    assert spec.argv == (*EMULATOR, "-s", "4", "-l", "-b", "-v", "3")
    assert (spec.sample_rate_hz, spec.num_words, spec.device) == (2_000_000, None, None)
    assert spec.expect_header is True
    assert spec.can_wait is False
    assert resolve_source("sim:").argv == spec.argv


@pytest.mark.parametrize(
    ("query", "flags", "rate_hz", "words"),
    [
        ("rate=10MHz&q=2**20", "-s 0 -l -b -q 1048576 -v 3", 10_000_000, 2**20),
        ("rate=20MHz", "-s 0 -h -b -v 3", 20_000_000, None),
        ("rate=400Hz", "-s 24999 -l -b -v 3", 400, None),
        ("h&s=1&b", "-s 1 -h -b -v 3", 10_000_000, None),
        ("s=4", "-s 4 -h -b -v 3", 4_000_000, None),
        ("l=", "-s 0 -l -b -v 3", 10_000_000, None),
        ("rate=6666666.6", None, None, None),
        ("seconds=1.5", "-s 4 -l -b -q 3000000 -v 3", 2_000_000, 3_000_000),
        ("h&s=2&seconds=1ms", "-s 2 -h -b -q 6666 -v 3", Fraction(20_000_000, 3), 6666),
        ("seconds=1us&rate=400Hz", "-s 24999 -l -b -q 1 -v 3", 400, 1),
        ("v=3&speed=max", "-s 4 -l -b -v 3 --speed max", 2_000_000, None),
        (
            "fault=die@5000000+3&fault=stall%402000000:3s&fifo=8MiB",
            "-s 4 -l -b -v 3 --fault die@5000000+3 --fault stall@2000000:3s --fifo 8388608",
            2_000_000,
            None,
        ),
        (
            "pattern=counter&chunk=random:7&seed=3&header=torn&transient=0&radius=2e6&freq=-1&noise=0",
            "-s 4 -l -b -v 3 --pattern counter --chunk random:7 --seed 3 --header torn --transient 0 --radius 2e6 "
            "--freq -1 --noise 0",
            2_000_000,
            None,
        ),
    ],
)
def test_sim_parameters_become_flags(query, flags, rate_hz, words):
    if flags is None:
        assert "whole fraction" in refusal(f"sim://?{query}")
        return
    spec = resolve_source(f"sim://?{query}")

    assert spec.argv == (*EMULATOR, *flags.split())
    assert spec.sample_rate_hz == rate_hz
    assert spec.num_words == words
    assert with_length(spec, 99).num_words == 99
    assert with_length(spec, 99).argv[-2:] == ("-q", "99") or "-q" in spec.argv


def test_headerless_sim_is_not_expected_to_have_one():
    assert resolve_source("sim://?header=none").expect_header is False
    assert resolve_source("sim://?header=missing").expect_header is True
    assert resolve_source("sim://?v=0").expect_header is None, "whether there is one shows in the first word"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sim://?patern=counter", "unknown parameter 'patern'; did you mean 'pattern'"),
        ("sim://?=1", "unknown parameter ''"),
        ("sim://host?rate=2MHz", "no address"),
        ("sim://rate=2MHz", "no address"),
        ("sim://?rate=2MHz&rate=2MHz", "rate twice"),
        ("sim://?rate=2M", "rate: '2M' is not a rate"),
        ("sim://?rate=3MHz", "whole fraction"),
        ("sim://?rate=40MHz", "whole fraction"),
        ("sim://?rate=2MHz&s=4", "rate and s exclude"),
        ("sim://?l&h", "exclude each other"),
        ("sim://?l=1", "takes no value"),
        ("sim://?q=5&seconds=1", "q and seconds exclude"),
        ("sim://?seconds=0", "not above 0"),
        ("sim://?q=-1", "0 to 10**18"),
        ("sim://?q=exit()", "integer arithmetic"),
        ("sim://?pattern=sine", "signal or counter"),
        ("sim://?speed=fast", "realtime or max"),
        ("sim://?header=no", "torn"),
        ("sim://?fault=explode@5:1", "stall@WORD:TIME"),
        ("sim://?fault=stall@5:1s%0A--report=x", "stall@WORD:TIME"),
        ("sim://?radius=nan", "not a number"),
        ("sim://?noise=--report", "not a number"),
        ("sim://?report=/etc/passwd", "unknown parameter 'report'"),
        ("file://", "three slashes"),
        ("file://host/path", "three slashes"),
        ("file:", "names no file"),
        ("file:///a%00b", "names no file"),
        ("file:///a?speed=2", "unknown parameter 'speed'"),
        ("file:///a?rate=fast", "rate: 'fast'"),
    ],
)
def test_wrong_url_is_refused_in_one_line(url, why):
    assert why in refusal(url)


def test_documented_urls_are_what_the_emulator_takes():
    urls = DOCS.read_text().partition("```urls\n")[2].partition("```")[0].split()

    assert len(urls) == 5
    for url in urls:
        spec = resolve_source(url)
        if importlib.util.find_spec("fastcap.sim._board"):
            from fastcap.sim.options import parse_options

            options = parse_options(spec.argv[len(EMULATOR) :])
            assert options.flags.sample_rate_hz == spec.sample_rate_hz
            assert options.flags.num_words == spec.num_words


def test_file_url_is_replayed_at_its_rate(tmp_path):
    path = tmp_path / "run.bin"
    path.touch()
    paced, fast = resolve_source(f"file://{path}?rate=2MHz"), resolve_source(f"file:{path}")

    assert (paced.kind, paced.path, paced.expect_header, paced.can_wait) == ("file", str(path), None, True)
    assert paced.sample_rate_hz == paced.replay_rate_hz == paced.replay_rate == 2_000_000
    assert (fast.path, fast.sample_rate_hz, fast.replay_rate_hz) == (str(path), None, None)
    check_startable(paced)


def test_file_name_that_is_not_utf8_is_found(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.bin"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))

    assert os.fsencode(resolve_source(f"file://{tmp_path}/%ff.bin").path) == path


def test_file_that_cannot_be_replayed_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")

    assert "No such file" in refusal(f"file://{tmp_path}/none", SourceError)
    assert "no regular file" in refusal(f"file://{tmp_path}", SourceError)
    assert "no regular file" in refusal(f"file://{tmp_path}/fifo", SourceError)


# -- descriptors -------------------------------------------------------------------------------------


def test_descriptor_and_file_object_are_sources():
    reading, writing = os.pipe()
    with open(reading, "rb") as file, open(writing, "wb") as sink:
        for source in (reading, file):
            spec = resolve_source(source)
            assert (spec.kind, spec.fd, spec.can_wait, spec.expect_header) == ("fd", reading, True, None)
            check_startable(spec)
        assert "cannot be read" in refusal(writing, SourceError)
        assert "cannot be read" in refusal(sink, SourceError)
    assert "not open" in refusal(reading, SourceError)
    assert "no descriptor" in refusal(file, SourceError)
    assert "not open" in refusal(-1, SourceError)
    assert "not open" in refusal(2**40, SourceError)


def test_directory_and_terminal_are_no_streams(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    controller, terminal = os.openpty()
    try:
        assert "cannot be read" in refusal(folder, SourceError)
        assert "is a terminal" in refusal(terminal, SourceError)
    finally:
        for fd in (folder, controller, terminal):
            os.close(fd)


@pytest.mark.parametrize(
    ("stdin", "why"), [("<&-", "not open"), ("0>/dev/null", "cannot be read"), ("</dev/null", "")]
)
def test_standard_input_is_checked_when_it_is_to_start(stdin, why):
    code = (
        "from fastcap.sources import check_startable, resolve_source\n"
        "spec = resolve_source('-')\n"
        "print(spec.kind, spec.fd, spec.can_wait, spec.expect_header)\n"
        "check_startable(spec)"
    )
    result = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -c "$1" {stdin}', sys.executable, code], capture_output=True, text=True
    )

    assert result.stdout == "stdin 0 True None\n"
    assert (result.returncode != 0) == bool(why)
    assert why in result.stderr


# -- before starting ---------------------------------------------------------------------------------


def test_what_is_all_there_can_start(program, device):
    check_startable(resolve_source([program, "-U", device, "-lb"]))
    check_startable(resolve_source(["true"]))
    check_startable(resolve_source("sim://"))


def test_missing_program_is_named(tmp_path, program):
    assert "program 'no-such-program' is not on PATH" in reason(resolve_source(["no-such-program"]))
    assert "'/no/such' does not exist" in reason(resolve_source(["/no/such"]))
    os.chmod(program, 0o644)
    assert "chmod +x" in reason(resolve_source([program]))
    assert "cannot be run" in reason(resolve_source([f"{tmp_path}/"]))


def test_relative_program_is_seen_from_its_working_directory(tmp_path, program):
    path = tmp_path / "own.toml"
    path.write_text(f'[board]\ncommand = ["./teststream.exec", "-lb"]\nbase_dir = "{tmp_path}"\n')
    check_startable(resolve_source(path))
    path.write_text('[board]\ncommand = ["./teststream.exec", "-lb"]\nbase_dir = "/"\n')
    assert "does not exist" in reason(resolve_source(path))
    path.write_text('[board]\ncommand = ["true"]\nbase_dir = "/no/where"\n')
    assert "working directory '/no/where'" in reason(resolve_source(path))


def test_missing_device_is_named(tmp_path, program):
    link = tmp_path / "softlink"
    link.symlink_to("/dev/usbhybrid77")

    assert "device '/dev/usbhybrid77': No such file" in reason(
        resolve_source([program, "-U", "/dev/usbhybrid77", "-lb"])
    )
    assert "a link to '/dev/usbhybrid77'" in reason(resolve_source([program, "-U", str(link), "-lb"]))
    assert "is a directory" in reason(resolve_source([program, "-U", str(tmp_path), "-lb"]))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_no_permission_is_said_to_who_has_none(tmp_path, program, device):
    os.chmod(device, 0o600)
    data = tmp_path / "run.bin"
    data.touch(0o600)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)
    spec, replay = resolve_source([program, "-U", device, "-lb"]), resolve_source(f"file://{data}")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresuid(NOT_ROOT, NOT_ROOT, NOT_ROOT)
            messages = []
            for refused in (spec, replay):
                try:
                    check_startable(refused)
                except FastcapError as error:
                    messages.append(str(error))
            status = 0 if "udev" in messages[0] and "no permission" in messages[1] else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_device_is_never_opened(program, device):
    with opens_of(device) as opened:
        check_startable(resolve_source([program, "-U", device, "-lb"]))
        assert opened() == 0
        os.close(os.open(device, os.O_RDONLY))
        assert opened() == 1


@pytest.mark.parametrize(
    "argv", [("fastcap-teststream",), ("/opt/fastcap-teststream",), EMULATOR, ("fastcap", "sim")]
)
def test_emulated_board_needs_no_device(argv, device):
    spec = resolve_source([*argv, "-U", "/dev/usbhybrid77", "-s", "4", "-lb"])

    assert spec.device is None
    assert spec.sample_rate_hz == 2_000_000
    assert resolve_source([*argv, "-U", device, "-lb"]).device == device


def test_emulator_behind_a_link_is_recognised(tmp_path):
    link = tmp_path / "teststream.exec"
    link.symlink_to("/opt/bin/fastcap-teststream")

    assert resolve_source([str(link), "-U", "/dev/usbhybrid77", "-lb"]).device is None


def test_toml_board_is_a_board(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(TOML)

    assert resolve_source(path).device == "/dev/usbhybrid0"
