"""The lab's INI is read unchanged, fastcap's TOML strictly; what is wrong is one line that says where."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastcap.config import load_board_config
from fastcap.errors import ConfigError, SourceError
from fastcap.sources import check_startable, resolve_source

LAB = """\
[Board]
num_samples = 2**25
skip_num = 5 - 1
speed: low
encode: binary
vga_num = 0
vga_num_enable = False
filter_const = 0
filter_const_enable = False
v = 3
[Phasemeter Details]
laser_num = 2
[Paths]
base_dir: /home/lab/vhf
save_dir: /mnt/nas/run
board: ${base_dir}/vhf_board.softlink
stream_exec: ${base_dir}/teststream.exec
save_to_file = False
npz_dir: ${base_dir}/results
[Extended Sampling]
num_runs = 20
[Multiprocess]
num_processes = multiprocessing.cpu_count() - 1
"""
LAB_ARGV = (
    "/home/lab/vhf/teststream.exec",
    *("-U", "/home/lab/vhf/vhf_board.softlink", "-q", "33554432", "-s", "4", "-l", "-b", "-v", "3"),
)
TOML = """\
[board]
stream_exec = "/opt/teststream"
device = "/dev/usbhybrid0"
num_samples = "2**25"
skip = 4
speed = "low"
"""
DOCS = Path(__file__).parents[1] / "docs" / "configuration.md"


def load(tmp_path, text, *overrides, name="lab.ini"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_board_config(path, overrides)


def refusal(tmp_path, text, *overrides, name="lab.ini"):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *overrides, name=name)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500 + len(str(tmp_path))
    return message


# -- the lab's INI -----------------------------------------------------------------------------------


def test_lab_file_becomes_the_board_command(tmp_path):
    config = load(tmp_path, LAB)

    assert config.argv == LAB_ARGV
    assert config.cwd == "/home/lab/vhf"
    assert config.device == "/home/lab/vhf/vhf_board.softlink"
    assert config.num_words == 2**25
    assert config.sample_rate_hz == Fraction(2_000_000)
    assert config.save_dir == "/mnt/nas/run"
    assert config.num_runs == 20
    assert config.details == {"laser_num": "2"}
    assert config.options == {}
    assert config.source_url is None


def test_unknown_sections_are_kept_as_text(tmp_path):
    config = load(tmp_path, LAB + "[Shot Noise]\nf = ${nowhere:x} $( 100%\n")

    assert config.sections["Multiprocess"] == {"num_processes": "multiprocessing.cpu_count() - 1"}
    assert config.sections["Shot Noise"] == {"f": "${nowhere:x} $( 100%"}
    assert config.sections["Paths"]["board"] == "${base_dir}/vhf_board.softlink"


def test_windows_line_ends_and_byte_order_mark_are_read(tmp_path):
    assert load(tmp_path, b"\xef\xbb\xbf" + LAB.replace("\n", "\r\n").encode()).argv == LAB_ARGV


@pytest.mark.parametrize(("speed", "flag", "rate_hz"), [("low", "-l", 2_000_000), ("high", "-h", 4_000_000)])
def test_speed_is_the_base_clock(tmp_path, speed, flag, rate_hz):
    config = load(tmp_path, LAB.replace("speed: low", f"speed = {speed}"))

    assert flag in config.argv
    assert config.sample_rate_hz == rate_hz


@pytest.mark.parametrize(
    ("speed", "flag"),
    [
        ("l", "-l"),
        ("LOW", "-l"),
        ("Low speed", "-l"),
        ("lo", "-l"),
        ("H", "-h"),
        ("HIGH", "-h"),
        ("hi", "-h"),
    ],
)
def test_speed_is_told_by_its_first_letter(tmp_path, speed, flag):
    assert load(tmp_path, LAB.replace("speed: low", f"speed = {speed}")).argv[7] == flag


@pytest.mark.parametrize("encode", ["bin", "BIN", "Binary", "binary output"])
def test_encoding_is_told_by_its_first_three_letters(tmp_path, encode):
    assert load(tmp_path, LAB.replace("encode: binary", f"encode: {encode}")).argv == LAB_ARGV


@pytest.mark.parametrize("number", ["int(2**25)", "int(33554432.0)", "2 * 2**24", "2**26 // 2", "33554432"])
def test_lengths_are_arithmetic(tmp_path, number):
    assert load(tmp_path, LAB.replace("2**25", number)).argv == LAB_ARGV


@pytest.mark.parametrize("program", ["", "stream_exec:\n", "stream_exec = \n"])
def test_board_without_a_program_is_described(tmp_path, program):
    config = load(tmp_path, LAB.replace("stream_exec: ${base_dir}/teststream.exec\n", program))

    assert config.argv == ()
    assert config.device == "/home/lab/vhf/vhf_board.softlink"
    assert (config.num_words, config.sample_rate_hz) == (2**25, 2_000_000)


def test_board_without_a_program_cannot_be_started(tmp_path):
    path = tmp_path / "lab.ini"
    path.write_text(LAB.replace("stream_exec: ${base_dir}/teststream.exec\n", ""))
    spec = resolve_source(path)

    assert spec.sample_rate_hz == 2_000_000
    assert spec.num_words == 2**25
    with pytest.raises(SourceError, match="has no stream_exec"):
        check_startable(spec)


@pytest.mark.parametrize("section", ["Board", "Paths"])
@pytest.mark.parametrize("value", ["True", "yes", "1", "on", "maybe"])
def test_program_that_saves_by_itself_is_warned_of(tmp_path, section, value):
    text = LAB.replace("save_to_file = False\n", "").replace(
        f"[{section}]\n", f"[{section}]\nsave_to_file = {value}\n"
    )
    config = load(tmp_path, text)

    assert len(config.warnings) == 1
    assert f"[{section}] save_to_file = {value}" in config.warnings[0]
    assert config.argv == LAB_ARGV


@pytest.mark.parametrize("value", ["False", "no", "0", "off", ""])
def test_program_that_does_not_save_is_no_reason_to_warn(tmp_path, value):
    assert load(tmp_path, LAB.replace("save_to_file = False", f"save_to_file = {value}")).warnings == ()


@pytest.mark.parametrize(
    "section",
    [
        "[Software Processing]\nfilters = ['mean', __import__('os').system('touch pwned')]\nn = 2**(2**99)",
        "[Shot Noise]\nnum_processes = multiprocessing.cpu_count() - 1\npower_mW =\nnested = ${a:b}${c}",
        "[Other]\n  a = 1\n  b = {'x':\n    1}",
    ],
)
def test_sections_of_other_programs_are_text(tmp_path, monkeypatch, section):
    monkeypatch.chdir(tmp_path)
    config = load(tmp_path, f"{LAB}\n{section}\n")

    assert config.argv == LAB_ARGV
    assert section.splitlines()[0].strip("[]") in config.sections
    assert os.listdir(tmp_path) == ["lab.ini"]


@pytest.mark.parametrize(("key", "flag"), [("vga_num", "-G"), ("filter_const", "-F")])
@pytest.mark.parametrize("switch", ["True", "yes", "on", "1", None])
def test_gain_and_filter_are_passed_unless_disabled(tmp_path, key, flag, switch):
    text = LAB.replace(f"{key} = 0", f"{key} = 2 * 3")
    text = text.replace(f"{key}_enable = False\n", "" if switch is None else f"{key}_enable = {switch}\n")
    argv = load(tmp_path, text).argv

    assert argv[argv.index(flag) + 1] == "6"


@pytest.mark.parametrize("switch", ["False", "false", "no", "0", "off"])
def test_disabled_gain_is_not_even_evaluated(tmp_path, switch):
    text = LAB.replace("vga_num = 0", "vga_num = nonsense").replace("enable = False", f"enable = {switch}")

    assert load(tmp_path, text).argv == LAB_ARGV


def test_gain_may_be_left_out(tmp_path):
    lines = [line for line in LAB.splitlines() if not line.startswith(("vga", "filter"))]
    assert load(tmp_path, "\n".join(lines)).argv == LAB_ARGV


def test_other_board_keys_are_passed_on_as_they_are_written(tmp_path):
    argv = load(tmp_path, LAB.replace("v = 3", "v = 3\nK = a b\ndry =\nz: 5 - 1")).argv

    assert argv[-7:] == ("-v", "3", "-K", "a b", "-dry", "-z", "5 - 1")


def test_defaults_fill_in_but_are_no_flags(tmp_path):
    text = "[DEFAULT]\nroot = /srv\nspeed = low\n" + LAB.replace("speed: low\n", "").replace(
        "/home/lab", "${root}"
    )

    assert load(tmp_path, text).argv == tuple(arg.replace("/home/lab", "/srv") for arg in LAB_ARGV)


def test_keys_are_found_in_any_case(tmp_path):
    assert (
        load(tmp_path, LAB.replace("num_samples", "Num_Samples").replace("base_dir:", "Base_Dir:")).argv
        == LAB_ARGV
    )


@pytest.mark.parametrize("mark", [";", "#"])
def test_inline_comment_signs_are_part_of_the_value(tmp_path, mark):
    config = load(tmp_path, LAB.replace("laser_num = 2", f"laser_num = 2 {mark} red"))
    assert config.details == {"laser_num": f"2 {mark} red"}

    message = refusal(tmp_path, LAB.replace("2**25", f"2**25 {mark} samples"))
    assert "[Board] num_samples" in message


def test_comment_lines_are_comments(tmp_path):
    assert load(tmp_path, LAB.replace("[Paths]", "# one\n; two\n[Paths]")).argv == LAB_ARGV


def test_relative_paths_are_seen_from_the_current_directory(tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    text = LAB.replace("/home/lab/vhf", "vhf").replace("/mnt/nas", "../nas")
    config = load(tmp_path, text)

    assert config.argv[0] == f"{work}/vhf/teststream.exec"
    assert config.device == f"{work}/vhf/vhf_board.softlink"
    assert config.cwd == f"{work}/vhf"
    assert config.save_dir == f"{work}/../nas/run"


def test_bare_program_is_taken_from_the_current_directory_or_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = LAB.replace("${base_dir}/teststream.exec", "teststream")
    assert load(tmp_path, text).argv[0] == "teststream"

    (tmp_path / "teststream").touch()
    assert load(tmp_path, text).argv[0] == f"{tmp_path}/teststream"


def test_zero_samples_mean_endless(tmp_path):
    config = load(tmp_path, LAB.replace("2**25", "0"))

    assert config.argv[3:5] == ("-q", "0")
    assert config.num_words is None


def test_optional_parts_may_be_missing(tmp_path):
    text = LAB.replace("[Phasemeter Details]\nlaser_num = 2\n", "").replace(
        "[Extended Sampling]\nnum_runs = 20\n", ""
    )
    config = load(tmp_path, text.replace("save_dir: /mnt/nas/run\n", ""))

    assert (config.save_dir, config.num_runs, config.details) == (None, None, {})


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("Board", "num_samples"),
        ("Board", "skip_num"),
        ("Board", "speed"),
        ("Board", "encode"),
        ("Paths", "board"),
    ],
)
def test_missing_key_is_named_with_section_and_file(tmp_path, section, key):
    message = refusal(tmp_path, re.sub(rf"(?m)^{key} *[:=].*\n", "", LAB))

    assert f"lab.ini: [{section}] has no key {key}" in message


def test_gain_that_is_enabled_must_be_there(tmp_path):
    message = refusal(tmp_path, LAB.replace("vga_num = 0\nvga_num_enable = False", "vga_num_enable = True"))
    assert "[Board] has no key vga_num" in message


@pytest.mark.parametrize("section", ["Board", "Paths"])
def test_missing_section_is_named(tmp_path, section):
    assert f"section [{section}] is missing" in refusal(tmp_path, LAB.replace(f"[{section}]", "[Other]"))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("2**25", "__import__('os').system('touch pwned')", "[Board] num_samples"),
        ("2**25", "multiprocessing.cpu_count()", "[Board] num_samples"),
        ("2**25", "-1", "at least 0"),
        ("2**25", "2**63", "-q"),
        ("2**25", "", "[Board] num_samples"),
        ("2**25", "1e6", "[Board] num_samples"),
        ("2**25", "int(1e6).bit_length()", "[Board] num_samples"),
        ("2**25", "int(1e99)", "too large"),
        ("2**25", "int(input())", "[Board] num_samples"),
        ("5 - 1", "1 - 5", "at least 0"),
        ("num_runs = 20", "num_runs = 0", "[Extended Sampling] num_runs"),
        ("speed: low", "speed: slow", "low (10 MHz) nor high"),
        ("speed: low", "speed:", "low (10 MHz) nor high"),
        ("speed: low", "speed: 10 MHz", "low (10 MHz) nor high"),
        ("encode: binary", "encode: HEX", "'HEX' is not supported"),
        ("encode: binary", "encode: txt", "'txt' is not supported"),
        ("encode: binary", "encode: text", "'text' is not supported"),
        ("encode: binary", "encode: base64", "'base64' is not known"),
        ("encode: binary", "encode: bi", "'bi' is not known"),
        ("encode: binary", "encode:", "'' is not known"),
        ("v = 3", "-o = /tmp/file", "a flag without its -"),
        ("v = 3", "lo = /tmp/file", "-o"),
        ("encode: binary", "encode: ascii", "'ascii' is not supported"),
        ("encode: binary", "encode: hexadecimal", "'hexadecimal' is not supported"),
        ("vga_num_enable = False", "vga_num_enable = Flase", "[Board] vga_num_enable: 'Flase'"),
        ("v = 3", "x = 1", "-x (hexadecimal output)"),
        ("v = 3", "A = 1", "-A (ascii output)"),
        ("stream_exec: ${base_dir}/teststream.exec", "stream_exec: a\0b", "[Paths] stream_exec"),
        ("v = 3", "o = /tmp/file", "-o"),
        ("v = 3", "v = a\0b", "NUL"),
        ("v = 3", "v = $(rm -rf /)", "[Board] v:"),
        ("${base_dir}/vhf", "${nowhere}/vhf", "nowhere"),
        ("${base_dir}/vhf", "${No:where}/vhf", "No:where"),
        ("${base_dir}/vhf", "${board}/vhf", "[Paths] board"),
        ("[Phasemeter Details]", "[Board]", "section [Board] stands here twice"),
        ("v = 3", "v = 3\nV = 4", "key v stands twice"),
        ("v = 3", "just words", "line 10"),
        ("[Board]\n", "", "line 1"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_in_one_line(tmp_path, monkeypatch, old, new, named):
    monkeypatch.chdir(tmp_path)
    message = refusal(tmp_path, LAB.replace(old, new, 1))

    assert "lab.ini" in message
    assert named in message
    assert os.listdir(tmp_path) == ["lab.ini"]


def test_hostile_values_stay_single_arguments(tmp_path):
    hostile = "/dev/x y'\"; touch pwned `id` | cat > ../../etc & \\ *"
    config = load(
        tmp_path, LAB.replace("${base_dir}/vhf_board.softlink", hostile).replace("v = 3", "v = 1\n  -x\n  2")
    )

    assert config.device == hostile
    assert config.argv[2] == hostile
    assert config.argv[-2:] == ("-v", "1\n-x\n2")


def test_details_may_hold_any_text(tmp_path):
    config = load(tmp_path, LAB.replace("laser_num = 2", "Laser_Num = ${Board:v}\nnote = 5$ ${nope}"))

    assert config.details == {"Laser_Num": "3", "note": "5$ ${nope}"}


@given(st.text(max_size=300))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_read_or_refused_in_one_line(tmp_path, text):
    messages = []
    for whole in (text, LAB + text, LAB.replace("v = 3", f"v = {text}"), LAB.replace("2**25", text)):
        for name in ("any.ini", "any.toml"):
            try:
                load(tmp_path, whole.encode(errors="surrogatepass"), name=name)
            except ConfigError as error:
                messages.append(str(error))
    assert all(len(message.splitlines()) == 1 for message in messages)


# -- the file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lab.ini", "lab.toml"])
def test_undecodable_bytes_are_placed(tmp_path, name):
    assert "line 2, byte 0xff" in refusal(tmp_path, b"# a\n# \xff\n", name=name)


def test_file_that_cannot_be_a_configuration_is_refused(tmp_path):
    assert "larger than 1 MiB" in refusal(tmp_path, bytes((1 << 20) + 1))
    os.mkfifo(tmp_path / "fifo.ini")
    for path, why in [
        (tmp_path / "none.ini", "No such file"),
        (tmp_path, "no regular file"),
        (tmp_path / "fifo.ini", "no regular file"),
        ("a\0b.ini", "null"),
        (tmp_path / ("x" * 300), "too long"),
    ]:
        with pytest.raises(ConfigError, match=why):
            load_board_config(path)


# -- overrides ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "override",
    [
        "num_samples=2**20",
        "NUM_SAMPLES = 1048576",
        "Board.num_samples=2**20",
        "Board:num_samples=2**20",
        "board.num_samples=2**20",
    ],
)
def test_override_replaces_a_value(tmp_path, override):
    assert load(tmp_path, LAB, override).num_words == 2**20


def test_overrides_stand_as_if_in_the_file_and_the_last_counts(tmp_path):
    config = load(
        tmp_path, LAB, "base_dir=/srv", "save_dir=${base_dir}/a=b", "v=1", "v=2", "laser_num=7", "num_runs=3"
    )

    assert config.argv[0] == "/srv/teststream.exec"
    assert config.save_dir == "/srv/a=b"
    assert config.argv[-2:] == ("-v", "2")
    assert config.details == {"laser_num": "7"}
    assert config.num_runs == 3


def test_override_with_its_section_may_be_new(tmp_path):
    text = LAB.replace("[Extended Sampling]\nnum_runs = 20\n", "").replace("save_dir: /mnt/nas/run\n", "")
    config = load(
        tmp_path,
        text,
        "Board.K=7",
        "Phasemeter Details.Run.Id=a:b",
        "num_runs=5",
        "save_dir=/data",
        "Multiprocess.x=y",
    )

    assert config.argv[-2:] == ("-K", "7")
    assert config.details == {"laser_num": "2", "Run.Id": "a:b"}
    assert (config.num_runs, config.save_dir) == (5, "/data")
    assert config.sections["Multiprocess"]["x"] == "y"


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("num_sample=1", "did you mean 'num_samples'"),
        ("nonsense=1", "known: num_samples, skip_num"),
        ("Bord.v=1", "no section [Bord]; did you mean 'Board'"),
        ("num_samples", "is not KEY=VALUE"),
        ("=1", "is not KEY=VALUE"),
        ("save_dir=$x", "write $$"),
        ("num_samples=2**", "[Board] num_samples"),
        ("speed=\n", "speed"),
    ],
)
def test_override_that_names_nothing_is_refused(tmp_path, override, why):
    assert why in refusal(tmp_path, LAB, override)


# -- TOML --------------------------------------------------------------------------------------------


def toml(tmp_path, text, *overrides):
    return load(tmp_path, text, *overrides, name="own.toml")


def test_toml_board_becomes_its_command(tmp_path):
    config = toml(tmp_path, TOML + 'gain = 1\nverbosity = 3\nflags = ["-k", "a b"]\nbase_dir = "/opt"\n')

    assert config.argv == (
        *("/opt/teststream", "-U", "/dev/usbhybrid0", "-q", "33554432", "-s", "4", "-l", "-b"),
        *("-G", "1", "-v", "3", "-k", "a b"),
    )
    assert (config.device, config.num_words, config.sample_rate_hz) == ("/dev/usbhybrid0", 2**25, 2_000_000)
    assert config.cwd == "/opt"


def test_toml_command_is_taken_as_it_is(tmp_path):
    config = toml(
        tmp_path, '[board]\ncommand = ["./teststream", "-U", "/dev/x", "-hbs1", "-q8"]\nbase_dir = "/a"\n'
    )

    assert config.argv == ("./teststream", "-U", "/dev/x", "-hbs1", "-q8")
    assert (config.device, config.num_words, config.sample_rate_hz) == ("/dev/x", 8, 10_000_000)


def test_toml_command_of_something_else_has_no_board_facts(tmp_path):
    config = toml(tmp_path, '[board]\ncommand = ["cat", "-A", "teststream.bin"]\n')

    assert (config.device, config.num_words, config.sample_rate_hz) == (None, None, None)


def test_toml_source_url_and_options_are_kept(tmp_path):
    board = '[board]\nsource = "sim://"\n'
    capture = '[capture]\nto = "/d"\nseconds = "5min"\nrepeat = 3\nrealtime = true\n'
    config = toml(tmp_path, board + capture + "[meta]\na = 1\nb = 2024-01-02\nc = false\nd = 0.5\n")

    assert config.source_url == "sim://"
    assert config.argv == ()
    assert config.options == {"to": "/d", "seconds": "5min", "repeat": 3, "realtime": True}
    assert (config.save_dir, config.num_runs) == ("/d", 3)
    assert config.details == {"a": "1", "b": "2024-01-02", "c": "false", "d": "0.5"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "[board] has no key stream_exec"),
        (TOML.replace('device = "/dev/usbhybrid0"\n', ""), "[board] has no key device"),
        (TOML.replace("skip", "skp"), "unknown key 'skp'; did you mean 'skip'"),
        (TOML + "[captur]\n", "unknown section [captur]; did you mean 'capture'"),
        (TOML + "[capture]\nfsync = 1\n", "did you mean 'fsync_every'"),
        ("board = 5", "board is not a section"),
        ("meta = 5\n" + TOML, "meta is not a section"),
        (TOML + "[meta]\nx = [1]\n", "[meta] x: [1]"),
        (TOML + "source = 'sim://'", "source and stream_exec exclude"),
        ("[board]\ncommand = ['a']\nskip = 1", "command and skip exclude"),
        ("[board]\ncommand = 'a b'", "not a list"),
        ("[board]\ncommand = []", "names no program"),
        ("[board]\ncommand = ['a', 5]", "not a list of texts"),
        ("[board]\ncommand = ['teststream', '-x']", "-x (hexadecimal"),
        ("[board]\ncommand = ['teststream', '-b', '-o', 'f']", "leave out -o"),
        ("[board]\ncommand = ['teststream', '-b', '-q', 'f']", "-q 'f'"),
        (TOML.replace('"2**25"', '"len([])"'), "[board] num_samples"),
        (TOML.replace('"2**25"', "-1"), "at least 0"),
        (TOML.replace('"2**25"', "true"), "True"),
        (TOML.replace('"2**25"', "1.5"), "1.5"),
        (TOML.replace('"low"', '"fast"'), "low, high"),
        (TOML.replace('"/opt/teststream"', "5"), "not a text"),
        (TOML + "[capture]\nseconds = 1\nsamples = 1\n", "both seconds and samples"),
        (TOML + "[capture]\nseconds = 0\n", "not above 0"),
        (TOML + "[capture]\nseconds = '5m'\n", "[capture] seconds: '5m' is not a time"),
        (TOML + "[capture]\nring = 'big'\n", "[capture] ring: 'big' is not a size"),
        (TOML + "[capture]\nrealtime = 1\n", "neither true nor false"),
        (TOML + "[capture]\nchecksum = 'md5'\n", "sha256, none"),
        (TOML + "[capture]\non_full = 'spill'\n", "drop, wait"),
        (TOML + "[capture]\nanalyse = 'module'\n", "MODULE:FUNCTION"),
        (TOML + "[capture]\nrepeat = 0\n", "at least 1"),
        (TOML + "[board]\n", "is no TOML"),
        ("x = " + "[" * 5000, "is no TOML"),
    ],
)  # fmt: skip
def test_wrong_toml_is_refused_in_one_line(tmp_path, text, why):
    message = refusal(tmp_path, text, name="own.toml")

    assert "own.toml" in message
    assert why in message


def test_toml_overrides_need_no_quotes(tmp_path):
    config = toml(
        tmp_path, TOML, "num_samples=2**10", "board.speed=high", "to=/a b", "seconds=30", "split=5min",
        "name=7", "meta.laser=2", "analyse=m:f", "flags=['-k']", "realtime=true", "ring='1GB'",
    )  # fmt: skip

    assert config.num_words == 1024
    assert config.argv[-1] == "-k"
    assert config.sample_rate_hz == 4_000_000
    assert config.options == {
        "to": "/a b", "seconds": 30, "split": "5min", "name": "7", "analyse": "m:f",
        "realtime": True, "ring": "1GB",
    }  # fmt: skip
    assert config.details == {"laser": "2"}


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("secnds=1", "did you mean 'seconds'"),
        ("captur.seconds=1", "no section [captur]"),
        ("capture.secnds=1", "unknown key 'secnds'"),
        ("realtime=maybe", "neither true nor false"),
        ("seconds=1\nsamples=2", "seconds"),
    ],
)
def test_toml_override_that_names_nothing_is_refused(tmp_path, override, why):
    assert why in refusal(tmp_path, TOML, override, name="own.toml")


# -- the documentation -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ini", "toml"])
def test_documented_files_are_read(tmp_path, kind):
    blocks = re.findall(rf"(?ms)^```{kind}\n(.*?)^```", DOCS.read_text())

    assert blocks
    for block in blocks:
        config = load(tmp_path, block, name=f"doc.{kind}")
        assert config.source_url or config.sample_rate_hz == 2_000_000


def test_documented_overrides_work(tmp_path):
    text = DOCS.read_text()
    overrides = [a or b for a, b in re.findall(r"`--set (?:'([^']*)'|([^`']*))`", text)]
    ini = [o for o in overrides if o.split(".")[0] in ("Board", "Phasemeter Details") or o.startswith("num")]
    block = {kind: re.search(rf"(?ms)^```{kind}\n(.*?)^```", text)[1] for kind in ("ini", "toml")}

    assert len(ini) == 3
    assert len(overrides) == 6
    assert load(tmp_path, block["ini"], *ini).num_words == 2**20
    assert toml(tmp_path, block["toml"], *(set(overrides) - set(ini))).sample_rate_hz == 4_000_000
