import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.words import Carry, encode, phase, radius, split_iqm

VECTORS = Path(__file__).parent / "vectors"


def rows(name):
    lines = (VECTORS / name).read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def words_of(table):
    return np.array([int(row["word_hex"], 16) for row in table], dtype=np.uint64)


def column(table, name, kind=float):
    return np.array([kind(row[name]) for row in table])


WORDS = rows("words.csv")
ROLLOVER = rows("rollover.csv")


def test_i_q_m_are_exactly_the_golden_ones():
    i, q, m = split_iqm(words_of(WORDS))

    assert (i.dtype, q.dtype, m.dtype) == (np.int32, np.int32, np.int16)
    np.testing.assert_array_equal(i, column(WORDS, "i", int))
    np.testing.assert_array_equal(q, column(WORDS, "q", int))
    np.testing.assert_array_equal(m, column(WORDS, "m", int))


def test_radius_is_the_golden_one():
    np.testing.assert_allclose(radius(words_of(WORDS)), column(WORDS, "radius"), rtol=1e-12, atol=0)


def test_phase_of_single_words_is_the_golden_one_to_the_sign_of_zero():
    golden = column(WORDS, "phase_turns")
    decoded = np.concatenate([phase(words_of([row])) for row in WORDS])

    np.testing.assert_allclose(decoded, golden, rtol=1e-12, atol=0)
    np.testing.assert_array_equal(np.signbit(decoded), np.signbit(golden))


def test_rollover_is_removed_in_both_directions():
    carry = Carry()
    decoded = phase(words_of(ROLLOVER), carry=carry)

    np.testing.assert_allclose(decoded, column(ROLLOVER, "phase_turns"), rtol=1e-12, atol=0)
    last = split_iqm(words_of(ROLLOVER))[2][-1]
    assert carry == Carry(wraps=(int(last) - int(ROLLOVER[-1]["m_unwrapped"])) // 65536, last_m=int(last))


def test_golden_words_are_encoded_again_from_their_phase_and_radius():
    words = words_of(WORDS)
    some = column(WORDS, "radius") > 0

    again = encode(column(WORDS, "phase_turns")[some], column(WORDS, "radius")[some])

    np.testing.assert_array_equal(again, words[some])


def test_half_a_turn_decodes_to_the_turn_it_was_encoded_from():
    wanted = np.array([0.5, -0.5, 0.5 - 1e-9, -0.5 + 1e-9, 0.5 + 1e-9, 7.5 - 1e-9, -7.5 + 1e-9])
    decoded = np.concatenate([phase(encode(np.array([p]), 1000.0)) for p in wanted])

    np.testing.assert_allclose(decoded, wanted, rtol=0, atol=1 / 1000)


def test_phase_beyond_sixteen_bits_rolls_over_when_encoded():
    wanted = np.linspace(-200_000, 200_000, 100_001)
    decoded = phase(encode(wanted, 1e6))

    np.testing.assert_allclose(decoded - decoded[0], wanted - wanted[0], rtol=0, atol=1e-6)


walks = st.integers(0, 2**32).map(
    lambda seed: np.cumsum(np.random.default_rng(seed).uniform(-9000, 9000, 40_000)) * (seed % 3 + 1) / 3
)


@given(walks, st.lists(st.integers(0, 40_000), max_size=12))
def test_any_chunking_gives_the_same_bits(walk, cuts):
    words = encode(walk, 1e6)
    carry, whole_carry = Carry(), Carry()

    parts = [phase(part, carry=carry) for part in np.split(words, sorted(cuts))]

    assert np.concatenate(parts).tobytes() == phase(words, carry=whole_carry).tobytes()
    assert carry == whole_carry


def test_read_only_and_strided_views_decode_alike():
    words = words_of(WORDS * 100)
    frozen = np.frombuffer(words.tobytes(), dtype="<u8")
    spread = np.repeat(words, 3)[::3]

    for view in (frozen, spread):
        assert radius(view).tobytes() == radius(words).tobytes()
        assert phase(view).tobytes() == phase(words).tobytes()


def test_out_is_filled_and_returned():
    words = words_of(ROLLOVER)
    out = np.empty(words.size)

    assert radius(words, out=out) is out
    assert out.tobytes() == radius(words).tobytes()
    assert phase(words, out=out) is out
    assert out.tobytes() == phase(words).tobytes()


def test_no_words_decode_to_nothing_and_leave_the_carry():
    none = np.empty(0, dtype=np.uint64)
    carry = Carry(wraps=3, last_m=-7)

    assert phase(none, carry=carry).size == radius(none).size == encode(np.empty(0), 1.0).size == 0
    assert carry == Carry(wraps=3, last_m=-7)


@pytest.mark.parametrize("out", [np.zeros(3), np.zeros(26, dtype=np.float32), np.zeros((26, 1))])
def test_wrong_out_is_refused_and_nothing_changes(out):
    carry = Carry(wraps=1, last_m=5)

    with pytest.raises(ValueError, match="out is"):
        phase(words_of(ROLLOVER), out=out, carry=carry)
    with pytest.raises(ValueError, match="out is"):
        radius(words_of(ROLLOVER), out=out)

    assert not out.any()
    assert carry == Carry(wraps=1, last_m=5)


def test_read_only_out_is_refused():
    out = np.zeros(len(ROLLOVER))
    out.flags.writeable = False

    with pytest.raises(ValueError, match="writeable"):
        phase(words_of(ROLLOVER), out=out)


@pytest.mark.parametrize("words", [np.zeros(2), np.zeros((2, 2), np.uint64), np.zeros(2, ">u8"), [1, 2]])
def test_what_is_not_words_is_refused(words):
    for function in (split_iqm, radius, phase):
        with pytest.raises(ValueError, match="uint64"):
            function(words)


@pytest.mark.parametrize("r", [2.0**23, -(2.0**24), math.nan, math.inf])
def test_radius_that_does_not_fit_is_refused(r):
    with pytest.raises(ValueError, match="24 bits"), np.errstate(invalid="ignore"):
        encode(np.array([0.0, 0.25]), r)


@pytest.mark.parametrize("p", [math.inf, math.nan, 1e300])
def test_phase_that_cannot_be_encoded_is_refused(p):
    with pytest.raises(ValueError), np.errstate(invalid="ignore"):  # noqa: PT011
        encode(np.array([p]), 1.0)
