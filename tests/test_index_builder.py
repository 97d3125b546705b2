"""Index rows in C: the same however words come, handed from builder to builder, exact where phases are large."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcap import _decode
from fastcap._decode import IndexBuilder
from fastcap._indexfile import BLOCK_WORDS, NO_WORD_BEFORE, ROW_BYTES
from fastcap.words import ROW, Carry, encode, index_rows, phase, radius

WORDS = 3 * BLOCK_WORDS - 777


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    """Return words whose M rolls over several times a block."""
    rng = np.random.default_rng(5)
    return encode(np.cumsum(rng.uniform(-4000, 4200, WORDS)), 8e5 + rng.normal(scale=1e4, size=WORDS))


@pytest.fixture(scope="module")
def rows(words: np.ndarray) -> bytes:
    return index_rows(words, Carry()).tobytes()


def built(pieces: list[bytes]) -> bytes:
    builder = IndexBuilder()
    for piece in pieces:
        builder.add(piece)
    return builder.take_rows() + builder.last_row()


def test_rows_are_of_the_agreed_layout():
    assert (_decode.BLOCK_WORDS, _decode.ROW_BYTES, _decode.NO_M) == (BLOCK_WORDS, ROW_BYTES, NO_WORD_BEFORE)


def test_rows_are_sums_of_what_decodes(words, rows):
    found = np.frombuffer(rows, ROW)
    carry, values = Carry(), {"radius": radius(words)}
    for k, row in enumerate(found):
        block = slice(k * BLOCK_WORDS, (k + 1) * BLOCK_WORDS)
        assert (row["wraps"], row["m_before"]) == (carry.wraps, 65536 if k == 0 else carry.last_m)
        values["phase"] = np.full(WORDS, np.nan)
        values["phase"][block] = phase(words[block], carry=carry)
        for name, all_values in values.items():
            part = all_values[block]
            mean = math.fsum(part) / part.size
            assert (row["words"], row[f"{name}_min"], row[f"{name}_max"]) == (
                part.size,
                part.min(),
                part.max(),
            )
            assert row[f"{name}_mean"] == pytest.approx(mean, rel=1e-14)
            assert row[f"{name}_m2"] == pytest.approx(math.fsum((part - mean) ** 2), rel=1e-12)
    assert len(set(found["wraps"].tolist())) == 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 8 * WORDS), max_size=12), st.integers(0, 7))
def test_rows_do_not_depend_on_how_bytes_come(words, rows, cuts, odd):
    data = words.tobytes() + b"\xff" * odd
    edges = [0, *sorted(cuts), len(data)]

    assert built([data[a:b] for a, b in itertools.pairwise(edges)]) == rows


def test_rows_are_the_same_at_every_level(words, rows):
    for level in _decode.levels():
        _decode.use_level(level)
        assert index_rows(words, Carry()).tobytes() == rows


def test_rows_of_strided_and_of_unaligned_words_are_the_same(words, rows):
    odd = np.frombuffer(b"\0" + words.tobytes(), np.uint8)[1:].view(np.uint64)

    assert index_rows(np.repeat(words, 2)[::2], Carry()).tobytes() == rows
    assert index_rows(odd, Carry()).tobytes() == rows
    assert built([memoryview(odd).cast("B")]) == rows


@pytest.mark.parametrize(
    "cut", [0, 1, 8 * 511 + 3, 8 * BLOCK_WORDS, 8 * BLOCK_WORDS + 1, 8 * (2 * BLOCK_WORDS + 5000)]
)
def test_a_successor_goes_on_from_the_state(words, rows, cut):
    data = words.tobytes()
    first = IndexBuilder()
    first.add(data[:cut])
    begun, done = first.last_row(), first.take_rows()
    second = IndexBuilder(first.state())
    assert (second.last_row(), second.words, second.take_rows()) == (begun, cut // 8, b"")

    second.add(data[cut:])

    assert done + second.take_rows() + second.last_row() == rows
    assert second.words == WORDS


def test_a_look_at_the_row_begun_changes_nothing(words, rows):
    builder = IndexBuilder()
    for piece in np.array_split(words, 77):
        builder.add(piece.tobytes())
        assert np.frombuffer(builder.last_row(), ROW)["words"].sum() == builder.words % BLOCK_WORDS

    assert builder.take_rows() + builder.last_row() == rows
    assert builder.take_rows() == b""


def test_bytes_are_taken_from_an_address(words, rows):
    builder = IndexBuilder()
    builder.add_at(words.ctypes.data, 99)
    builder.add_at(words.ctypes.data + 99, words.nbytes - 99)

    assert builder.take_rows() + builder.last_row() == rows


def test_no_word_has_no_row():
    builder = IndexBuilder()
    builder.add(b"")
    assert (builder.words, builder.last_row(), builder.take_rows()) == (0, b"", b"")
    builder.add(b"1234567")
    assert (builder.words, builder.last_row()) == (0, b"")
    assert index_rows(np.empty(0, np.uint64), Carry(3, 4)).size == 0


def test_a_million_turns_cost_no_digit_of_the_spread():
    rng = np.random.default_rng(6)
    words = encode(1e6 + 1e-5 * rng.normal(size=BLOCK_WORDS), 8e6)
    carry = Carry(15, int(words[:1].view(np.int64)[0] >> 48))
    values = phase(words, carry=Carry(carry.wraps, carry.last_m))
    assert values.min() > 9e5
    center = values[0]
    off = [float(v - center) for v in values]
    mean = math.fsum(off) / BLOCK_WORDS

    (row,) = index_rows(words, carry)

    assert row["phase_m2"] == pytest.approx(math.fsum((v - mean) ** 2 for v in off), rel=1e-12)
    assert row["phase_mean"] == pytest.approx(center + mean, abs=np.spacing(center))


def test_a_spike_at_a_block_s_first_word_costs_few_digits():
    values = 1e-3 * np.random.default_rng(8).normal(size=BLOCK_WORDS)
    values[0] = 20_000
    words = encode(values, 8e6)
    decoded = phase(words)
    mean = math.fsum(decoded) / BLOCK_WORDS

    (row,) = index_rows(words, Carry())

    assert row["phase_m2"] == pytest.approx(math.fsum((decoded - mean) ** 2), rel=1e-11)


@pytest.mark.parametrize("field", ["layout", "summed", "odd summed", "pending_bytes", "size", "size less"])
def test_what_is_no_state_is_refused(field):
    state = IndexBuilder().state()
    numbers = np.frombuffer(state, np.uint32).copy()
    at = numbers.size - 2 * 512  # where the words of a chunk not complete begin
    numbers[{"layout": 0, "pending_bytes": at - 1}.get(field, at - 2)] = {
        "summed": BLOCK_WORDS,
        "odd summed": 7,
        "pending_bytes": 8 * 512,
    }.get(field, 0)
    bad = {"size": state + b"\0", "size less": state[:-1]}.get(field, numbers.tobytes())

    with pytest.raises(ValueError, match=f"{len(bad)} bytes are no state"):
        IndexBuilder(bad)


def test_index_rows_leave_a_carry_on_error(words):
    carry = Carry(1, 2)
    with pytest.raises(ValueError, match="uint64"):
        index_rows(words.astype(float), carry)
    assert carry == Carry(1, 2)
