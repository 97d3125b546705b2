"""The kernels: right, the same to the last bit whatever the level, the threads and the cuts, and safe."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastcap import _decode
from fastcap.words import Carry, advance, encode, field, phase, phase_radius, radius, split_iqm

SOURCES = Path(__file__).resolve().parents[1] / "src" / "fastcap"
EXTREMES = [-(2**23), -(2**23) + 1, -(2**22), -2, -1, 0, 1, 2, 2**22, 2**23 - 2, 2**23 - 1]

some_words = arrays(np.uint64, st.integers(0, 1500), elements=st.integers(0, 2**64 - 1), fill=st.nothing())


def word(i: int, q: int, m: int = 0) -> int:
    return (m & 0xFFFF) << 48 | (i & 0xFFFFFF) << 24 | (q & 0xFFFFFF)


def random_words(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


def walk(n: int, step: float = 4000.0, seed: int = 2) -> np.ndarray:
    """Return words whose M rolls over now and then, both ways."""
    return encode(np.cumsum(np.random.default_rng(seed).uniform(-step, 1.05 * step, n)), 1e6)


def by_hand(words: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return I, Q and M without rollovers, word by word, in Python's integers."""
    i, q, m, wraps, before = [], [], [], 0, None
    for w in words.tolist():
        one = [(w >> shift & mask) for shift, mask in ((24, 0xFFFFFF), (0, 0xFFFFFF), (48, 0xFFFF))]
        one = [
            v - (size if v >= size // 2 else 0) for v, size in zip(one, (2**24, 2**24, 2**16), strict=True)
        ]
        step = 0 if before is None else one[2] - before
        wraps += (step > 0x8000) - (step < -0x8000)
        before = one[2]
        i.append(one[0])
        q.append(one[1])
        m.append(one[2] - 65536 * wraps)
    return np.array(i, np.int64), np.array(q, np.int64), np.array(m, np.int64)


def everything(words: np.ndarray, threads: int = 1) -> list[bytes]:
    """Return all that is made of words, as bytes."""
    carry = Carry()
    p, r = phase_radius(words, carry=carry, threads=threads)
    alone = [phase(words, threads=threads), radius(words, threads=threads)]
    return [a.tobytes() for a in (p, r, *alone, *split_iqm(words))] + [repr(carry).encode()]


@pytest.fixture(params=_decode.levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    _decode.use_level(request.param)
    yield request.param
    _decode.use_level(_decode.levels()[-1])


# -- values ------------------------------------------------------------------------------------------------


@given(some_words)
def test_values_are_numpy_s(words):
    i, q, m = by_hand(words)
    wanted = -np.arctan2(i.astype(float), q.astype(float)) / (2 * np.pi) - m
    p, r = phase_radius(words)

    np.testing.assert_array_equal(r, np.sqrt((i * i + q * q).astype(float)))
    np.testing.assert_allclose(r, np.hypot(i, q), rtol=1e-15, atol=0)
    assert (np.abs(p - wanted) <= 1e-15 + 2 * np.spacing(np.abs(wanted))).all()
    for got, name, want in zip(split_iqm(words), "iqm", (i, q, (m + 2**15) % 2**16 - 2**15), strict=True):
        np.testing.assert_array_equal(got, want)
        assert field(words, name).tobytes() == got.tobytes()


def test_angles_are_within_two_ulp_at_every_place(level):
    rng = np.random.default_rng(3)
    small = [word(i, q) for i in range(-45, 46) for q in range(-45, 46)]
    wide = [word(i, q) for i in EXTREMES for q in EXTREMES]
    words = np.concatenate(
        [np.array(small + wide, np.uint64), rng.integers(0, 2**48, 100_000, dtype=np.uint64)]
    )
    i, q, _ = split_iqm(words)
    wanted = -np.arctan2(i.astype(np.longdouble), q.astype(np.longdouble)) / (
        2 * np.arccos(np.longdouble(-1))
    )

    found = np.concatenate([phase(words[k : k + 700]) for k in range(0, words.size, 700)])

    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))
    assert (np.abs(found - wanted) <= 2.0**-51 * np.abs(wanted)).all()


def test_quarters_and_eighths_are_exact(level):
    counts = np.array([1, 3, 1000, 2**22, 2**23 - 1])
    for si, sq, turns in [
        (1, 0, -0.25), (-1, 0, 0.25), (0, -1, -0.5), (0, 1, -0.0),
        (1, 1, -0.125), (1, -1, -0.375), (-1, 1, 0.125), (-1, -1, 0.375),
    ]:  # fmt: skip
        words = np.array([word(si * c, sq * c, m) for c in counts.tolist() for m in (0, 7, -7)], np.uint64)
        np.testing.assert_array_equal(phase(words), turns - np.tile([0.0, 7.0, -7.0], counts.size))
    assert phase(np.zeros(1, np.uint64)).tobytes() == np.array([-0.0]).tobytes()


# -- the same bits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [random_words(5003), walk(5003), walk(5003, 0.01)], ids=["noise", "rolls", "calm"]
)
def test_every_level_gives_the_same_bits(level, words):
    found = everything(words)
    _decode.use_level(_decode.levels()[0])

    assert found == everything(words)


@given(some_words, st.lists(st.integers(0, 1500), max_size=5))
def test_every_cut_gives_the_same_bits(words, cuts):
    carry, past = Carry(), Carry()
    parts = [phase_radius(part, carry=carry) for part in np.split(words, sorted(cuts))]
    advance(past, words)

    joined = [np.concatenate([part[k] for part in parts]).tobytes() for k in (0, 1)]
    assert [*joined, repr(carry).encode()] == [everything(words)[k] for k in (0, 1, -1)]
    assert past == carry


@pytest.mark.parametrize("threads", [2, 3, 1000])
@pytest.mark.parametrize("n", [10, 3 << 17, 1_000_001])
def test_every_number_of_threads_gives_the_same_bits(threads, n):
    words = walk(n)
    assert n < 1000 or np.ptp(phase(words)) > 65536

    assert everything(words, threads) == everything(words)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("step", [1, -1])
def test_threads_carry_rollovers_through_shares_that_have_none(threads, step):
    m = np.arange(3_000_000) // 20 * step  # rolls over once in ten shares, or 1.3 million words
    m[1 << 18] += 0x9000  # and there and back where a share begins
    words = (m << 48).view(np.uint64)

    assert everything(words, threads) == everything(words)
    np.testing.assert_allclose(-phase(words, threads=threads)[-1], m[-1], rtol=0, atol=0.5)


def test_rollovers_are_followed_where_signs_alone_do_not_tell(level):
    """M beyond ±2**14 with both signs is looked at word by word: no chunk's edge may be forgotten in it."""
    m = np.array([16384, -16384, 16385, -16384, 32767, -32768, -1, 0, 32767, 0, -32768, 32767])
    m = np.concatenate([m, np.zeros(500, int), m, np.full(700, 32767), m, np.full(300, -32768), m])
    words = (m.astype(np.int64) << 48).view(np.uint64)

    np.testing.assert_array_equal(phase(words), -by_hand(words)[2])
    for edge in range(505, 520):
        carry = Carry()
        parts = [phase(words[:edge], carry=carry), phase(words[edge:], carry=carry)]
        np.testing.assert_array_equal(np.concatenate(parts), -by_hand(words)[2])


@pytest.mark.parametrize(("before", "after"), [(-32768, 16383), (32767, -16384), (-32768, 1), (-32768, 0)])
def test_a_rollover_between_blocks_is_seen_where_each_of_them_is_calm(level, before, after):
    words = (np.repeat(np.array([before, after]), 600) << 48).view(np.uint64)
    carry = Carry()

    parts = [phase(words[:600], carry=carry), phase(words[600:], carry=carry)]

    np.testing.assert_array_equal(np.concatenate(parts), -by_hand(words)[2])
    assert abs(carry.wraps) == (abs(after - before) > 32768)


def test_a_level_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=f"no instruction level 'mmx'.*{_decode.levels()[0]}"):
        _decode.use_level("mmx")


# -- arrays ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 513, 40_000])
def test_arrays_may_lie_at_any_address_be_strided_and_read_only(level, n):
    words = walk(40_000)[:n]
    odd = np.frombuffer(b"\0\0\0" + words.tobytes(), np.uint8)[3:].view(np.uint64)
    assert not n or not odd.flags.aligned
    frozen = words.copy()
    frozen.flags.writeable = False
    backwards = words[::-1].copy()[::-1]

    for view in (odd, frozen, backwards, np.repeat(words, 3)[::3]):
        assert everything(view) == everything(words)

    both = np.zeros((n, 2))
    phase_radius(words, both[:, 0], both[:, 1])
    unaligned = np.zeros(8 * n + 1, np.uint8)[1:].view(np.float64)
    assert [a.tobytes() for a in (both[:, 0], both[:, 1], radius(words, unaligned))] == [
        everything(words)[k] for k in (0, 1, 1)
    ]


def test_given_arrays_are_filled_and_returned():
    words = walk(3000)
    outs = [np.empty(3000, kind) for kind in (np.int32, np.int32, np.int16, np.float64, np.float64)]
    i, q, m, p, r = outs

    assert [id(a) for a in (*split_iqm(words, i, q, m), *phase_radius(words, p, r))] == [id(a) for a in outs]
    assert [a.tobytes() for a in (p, r, i, q, m)] == [everything(words)[k] for k in (0, 1, 4, 5, 6)]
    assert split_iqm(words, q=q)[1] is q
    assert field(words, "m", m) is m


def test_overlapping_arrays_are_refused_and_unchanged():
    words = walk(100)
    before, out = words.copy(), np.zeros(150)

    for call in (
        lambda: phase(words, words.view(np.float64)),
        lambda: radius(words[:50], words[49:99].view(np.float64)),
        lambda: phase_radius(words, out[:100], out[50:]),
        lambda: split_iqm(words[:50], words.view(np.int32)[:50]),
        lambda: field(words[:50], "m", words.view(np.int16)[:50]),
    ):
        with pytest.raises(ValueError, match="overlaps"):
            call()
    np.testing.assert_array_equal(words, before)
    assert not out.any()


@pytest.mark.parametrize("name", ["i", "q", "m"])
@pytest.mark.parametrize("wrong", [np.zeros(9, np.int32), np.zeros(10, np.int64), [0] * 10])
def test_wrong_arrays_for_fields_are_refused(name, wrong):
    with pytest.raises(ValueError, match=f"{name} is .*give a int(16|32) array"):
        split_iqm(walk(10), **{name: wrong})
    with pytest.raises(ValueError, match="out is"):
        field(walk(10), name, wrong)


def test_wrong_arguments_are_refused_and_the_carry_stays():
    words, carry = walk(10), Carry(2, 5)

    with pytest.raises(ValueError, match="threads is 0"):
        phase(words, carry=carry, threads=0)
    with pytest.raises(ValueError, match="radius_out is"):
        phase_radius(words, np.empty(10), np.empty(11), carry)
    with pytest.raises(ValueError, match="no field 'z'"):
        field(words, "z")
    with pytest.raises(ValueError, match="uint64"):
        advance(carry, words.astype(np.int64))
    assert carry == Carry(2, 5)
    for wrong in (Carry(0, 32768), Carry(0, -32769)):
        with pytest.raises(ValueError, match="last_m is"):
            phase(words, carry=wrong)


@pytest.mark.parametrize("wrong", [np.empty(9), np.empty(10, np.float32), np.empty(20)[::2]])
def test_kernels_check_sizes_themselves(wrong):
    words = walk(10)
    with pytest.raises(ValueError):  # noqa: PT011
        _decode.decode(words, wrong, None, 0, _decode.NO_M)
    with pytest.raises(ValueError):  # noqa: PT011
        _decode.decode(words, None, wrong, 0, _decode.NO_M)
    with pytest.raises(ValueError, match="rows is of size 81"):
        _decode.index_rows(words, np.empty(81, np.uint8), 0, _decode.NO_M)


@pytest.mark.parametrize(("name", "kind"), [("i", np.int32), ("q", np.int32), ("m", np.int16)])
def test_kernels_check_sizes_of_fields(name, kind):
    words = walk(10)
    for wrong in (np.empty(9, kind), np.empty(11, kind)):
        with pytest.raises(ValueError, match=f"{name} is of size {wrong.size}; give 10"):
            _decode.split(words, *(wrong if name == which else None for which in "iqm"))


# -- other machines ----------------------------------------------------------------------------------------


COMPILERS = [c for c in ("cc", "gcc", "clang", "aarch64-linux-gnu-gcc") if shutil.which(c)]


@pytest.mark.parametrize("compiler", COMPILERS)
def test_headers_compile_without_a_warning(tmp_path, compiler):
    source = tmp_path / "all.c"
    source.write_text('#include "_rows.h"\nint main(void) { return fc_count_levels() == 0; }\n')
    flags = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-Werror"]
    flags += ["-Wno-unused-function", "-D_GNU_SOURCE", "-I", str(SOURCES)]

    subprocess.run([compiler, *flags, "-c", "-o", tmp_path / "o", source], check=True)
