"""The command line of the emulated board: teststream's own flags, and what only an emulator has."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NoReturn

import msgspec

from fastcap.errors import ConfigError
from fastcap.payload import LAYOUTS
from fastcap.sim.faults import Fault, parse_fault, parse_rate_hz, parse_size_bytes
from fastcap.start_time import FORMS
from fastcap.teststream import FAST_HZ, FLAG_OF, SLOW_HZ, BoardFlags, parse_board_argv

HEADERS = ("ok", "torn", "missing", "garbage", "none")
MAX_RADIUS = 2**23 - 1
WRITE_BYTES = 256 * 1024  # the largest write
_RANDOM_WRITE_BYTES = 4099

_DESCRIPTION = """\
Emulate the board and its program. teststream's own flags:
  -U DEVICE  -q WORDS (absent or 0: endless)  -s SKIP  -l (10 MHz) | -h (20 MHz)  -b (binary, the only one)
  -G GAIN  -F FILTER  -o FILE
  -v BITS (the header holds 1: the command line, 2: the start time; 4: a V2 header; 0 or none: there is no header)
-low, -high and -bin stand for -l, -h and -b."""
_EPILOG = """\
example:  fastcap-teststream -U /dev/usbhybrid0 -q 20000000 -s 4 -l -b --pattern counter > counter.bin

faults:   stall@WORD:TIME     write nothing for so long; what the FIFO cannot hold is lost
          lose@WORD:COUNT     lose words unannounced
          slip@WORD:BYTES     lose 1 to 7 bytes of the word: what follows is out of step
          die@WORD+BYTES      stop in the middle of a word, status 1
          exit@WORD:STATUS    stop before the word
          WORD is its number in the counter pattern, where lost words count too; -q counts words written.
At its end a line on stderr tells what was made, written and lost."""


class Options(msgspec.Struct, frozen=True):
    """What to emulate. ``header_argv`` is the command line that the stream's header shows; ``header_bits`` are -v's."""

    flags: BoardFlags
    header_argv: tuple[str, ...]
    header_bits: int
    pattern: str
    speed: str
    faults: tuple[Fault, ...]
    fifo_words: int
    chunk: tuple[int, int]
    transient_words: int
    radius: float
    freq_hz: float
    noise: float
    seed: int
    header: str
    payload: str
    start_form: str
    stale: bool
    preamble: str | None
    chatter: bool
    stderr_flood: bool
    report_fd: int | None
    report: str | None
    voa: str | None
    laser: str | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; --help lists the options")


def parse_options(argv: Sequence[str]) -> Options:
    """Parse the emulator's arguments, without the program's name.

    Raises
    ------
    ConfigError
        An option is unknown, wrong or unsupported.
    """
    own, rest = _parser().parse_known_args(argv)
    values: dict[str, Any] = vars(own)
    header_argv = ("teststream", *rest)
    flags = parse_board_argv(header_argv)
    if flags.encoding != "binary":
        flag = f"{FLAG_OF[flags.encoding]} ({flags.encoding} output)"
        raise ConfigError(f"{flag} is not supported; give -b for binary output")
    if flags.extra:
        raise ConfigError(f"argument {flags.extra[0]!r} is unknown; --help lists the options")
    bits = _header_bits(flags.verbosity or "0")
    if (rate_hz := values.pop("rate")) is not None:
        flags = _with_rate(flags, rate_hz)
        header_argv = _canonical_argv(flags)
    if own.pattern == "counter" and (own.voa or own.laser):
        raise ConfigError("--voa and --laser change the signal, and the counter has none; leave out one")
    if own.freq_hz is None:
        values["freq_hz"] = float(flags.sample_rate_hz) / 20_000
    elif not abs(own.freq_hz) <= flags.sample_rate_hz / 2:
        raise ConfigError(
            f"--freq {own.freq_hz:g} Hz is beyond half the word rate, {flags.sample_rate_hz} Hz"
        )
    values["faults"] = tuple(sorted(values["faults"], key=lambda fault: fault.word))
    return Options(flags=flags, header_argv=header_argv, header_bits=bits, **values)


def _parser() -> _Parser:
    parser = _Parser(
        prog="fastcap-teststream",
        add_help=False,
        allow_abbrev=False,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="fastcap-teststream [teststream's flags] [options]",
    )
    add = parser.add_argument
    add("--help", action="help", help="show this and exit (-h is the 20 MHz clock)")
    add("--pattern", choices=("signal", "counter"), default="signal", help="counter: word k is k")
    add("--speed", choices=("realtime", "max"), default="realtime", help="max: no clock, nothing is lost")
    add(
        "--fault",
        dest="faults",
        type=parse_fault,
        action="append",
        default=[],
        metavar="SPEC",
        help="see below",
    )
    add("--rate", type=parse_rate_hz, metavar="HZ", help="word rate; overrides -l, -h and -s (e.g. 2MHz)")
    add("--fifo", dest="fifo_words", type=_fifo_words, default=2**20, metavar="SIZE", help="default 8MiB")
    add("--chunk", type=_chunk, default=(WRITE_BYTES, 0), metavar="N|random[:SEED]", help="bytes per write")
    add("--seed", type=_natural, default=1, help="of noise and garbage")
    add("--radius", type=_radius, default=2e6, metavar="COUNTS", help="of the signal (default 2e6)")
    add("--freq", dest="freq_hz", type=float, metavar="HZ", help="of the beat (default: 100 at 2 MHz)")
    add("--noise", type=_radius, default=500.0, metavar="COUNTS", help="of I and Q (default 500)")
    add("--transient", dest="transient_words", type=_natural, default=12_000, metavar="WORDS")
    add("--header", choices=HEADERS, default="ok", help="none: no header; missing: no magic word before it")
    add("--payload", choices=LAYOUTS, default="8n", help="whether the header's n counts its magic word (8n)")
    add("--start-form", choices=FORMS, default="space", help="how the start is written: 2023's, 2025's, ...")
    add("--stale", action="store_true", help="leave stale bytes behind the header text's NUL")
    add("--preamble", metavar="TEXT", help="print a line of TEXT before the magic word (\\n: a line break)")
    add("--voa", metavar="NAME", help="let the radius follow this emulated attenuator (sim://voa?name=NAME)")
    add(
        "--laser",
        metavar="NAME",
        help="let radius and beat follow this emulated laser (sim://laser?name=NAME)",
    )
    add("--chatter", action="store_true", help="say on stderr every second how full the FIFO is")
    add("--stderr-flood", action="store_true", help="chatter on stderr without end")
    add("--report", metavar="FILE", help="write what was made, written and lost as JSON")
    add("--report-fd", type=_natural, metavar="N", help="the same, to a descriptor")
    return parser


def _header_bits(text: str) -> int:
    """Return the bits of -v: 1 the command line in the header, 2 the start time, 4 a V2 header."""
    bits = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= bits <= 15:
        raise ConfigError(f"-v {text!r} is not a whole number from 0 to 15")
    if bits & 8:
        raise ConfigError(
            f"-v {text} asks for rollover indices, which are known when standard output has passed them; give "
            f"-v {bits & 7}"
        )
    return bits


def _with_rate(flags: BoardFlags, rate_hz: Fraction) -> BoardFlags:
    """Return the flags with the clock and skip that make ``rate_hz``, the slow clock if both can."""
    for base_rate_hz in (SLOW_HZ, FAST_HZ):
        period = base_rate_hz / rate_hz if rate_hz else Fraction(0)
        if period >= 1 and period.denominator == 1:
            return msgspec.structs.replace(flags, base_rate_hz=base_rate_hz, skip=int(period) - 1)
    raise ConfigError(
        f"--rate of {float(rate_hz):g} Hz is no whole fraction of 10 or 20 MHz; the header cannot tell it"
    )


def _canonical_argv(flags: BoardFlags) -> tuple[str, ...]:
    """Return the command line of teststream that means ``flags``."""
    argv = ["teststream", "-s", str(flags.skip), "-l" if flags.base_rate_hz == SLOW_HZ else "-h", "-b"]
    valued = (("-U", flags.device), ("-q", flags.num_words), ("-G", flags.gain), ("-F", flags.filter_const))
    for flag, value in (*valued, ("-v", flags.verbosity), ("-o", flags.output)):
        if value is not None:
            argv += [flag, str(value)]
    return tuple(argv)


def _fifo_words(text: str) -> int:
    return max(1, parse_size_bytes(text) // 8)


def _chunk(text: str) -> tuple[int, int]:
    """Parse the size of writes: largest, and a seed that is 0 if all are to be as large as that."""
    kind, _, seed = text.partition(":")
    if kind == "random":
        return _RANDOM_WRITE_BYTES, _natural(seed or "0") + 1
    size = _natural(text)
    if not 1 <= size <= WRITE_BYTES:
        raise ConfigError(f"--chunk of {size} bytes is not between 1 and {WRITE_BYTES}")
    return size, 0


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ConfigError(f"{text!r} is not a whole number from 0 to 10**18 - 1")
    return int(text)


def _radius(text: str) -> float:
    value = float(text)
    if not 0 <= value <= MAX_RADIUS:
        raise ConfigError(f"{text} is not between 0 and {MAX_RADIUS} ADC counts")
    return value
