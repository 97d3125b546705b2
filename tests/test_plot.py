"""Pictures: nothing is missed in them, whatever the size, and they say what was lost."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("matplotlib")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from made_files import ledger_entry, write_capture  # noqa: E402

from fastcap import overview as ov  # noqa: E402
from fastcap import plot  # noqa: E402
from fastcap.errors import ConfigError, StreamFormatError  # noqa: E402
from fastcap.info import file_info  # noqa: E402
from fastcap.words import encode  # noqa: E402

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.bin"


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def signal(n: int, turns_per_word: float = 1e-4) -> Any:
    return encode(np.arange(n) * turns_per_word, np.full(n, 30_000.0))


pieces = st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 9000)), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(pieces, st.integers(0, 2**32 - 1))
def test_envelope_is_that_of_all_values_however_they_come(runs: list[tuple[int, int]], seed: int) -> None:
    chance = np.random.default_rng(seed)
    envelope, index = ov.Envelope(), 0
    everything: dict[int, float] = {}
    for skipped, size in runs:
        index += skipped
        values = chance.normal(size=size)
        envelope.add(index, values)
        everything |= dict(zip(range(index, index + size), values, strict=True))
        index += size

    width = envelope.column_words
    full = np.full(-(-index // width) * width, np.nan)
    full[list(everything)] = list(everything.values())
    columns = full.reshape(-1, width)
    none = np.isnan(columns).all(axis=1)
    low = np.where(none, np.nan, np.where(np.isnan(columns), np.inf, columns).min(axis=1))
    high = np.where(none, np.nan, np.where(np.isnan(columns), -np.inf, columns).max(axis=1))
    np.testing.assert_array_equal(envelope.low, low)
    np.testing.assert_array_equal(envelope.high, high)
    assert index <= ov.MAX_COLUMNS or envelope.low.size > ov.MAX_COLUMNS // 2


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(0, 11_000_000), st.floats(0, 2e5), st.integers(1, 500)), min_size=1, max_size=6
    )
)
def test_histogram_counts_every_value_in_its_bin(groups: list[tuple[float, float, int]]) -> None:
    chance = np.random.default_rng(1)
    histogram, everything = ov.RadiusHistogram(), []
    for middle, spread, size in groups:
        values = np.abs(chance.normal(middle, spread, size))
        histogram.add(values)
        everything.append(values)

    edges, counts = histogram.bars(240)

    assert counts.size <= 240
    np.testing.assert_array_equal(counts, np.histogram(np.concatenate(everything), edges)[0])
    assert counts.sum() == sum(size for _, _, size in groups)


def test_rollovers_before_the_part_count() -> None:
    words = signal(400_000, turns_per_word=0.4)  # M rolls over at word 81,920
    whole, part = ov.Overview(), ov.Overview()
    whole.add(0, words)
    part.skip(words[:300_000])
    part.add(0, words[300_000:])

    assert part.phase.high.max() == pytest.approx(whole.phase.high.max())
    assert part.phase.low.min() == pytest.approx(0.4 * 300_000)
    assert part.words == 100_000


def gathered(path: Path, first: int, last: int) -> Any:
    return plot._gather(path, file_info(path), (first, last))


def test_a_spike_of_one_word_is_seen_wherever_it_lies(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "_BLOCK_WORDS", 1000)
    for at in (0, 999, 1000, 12_345, 19_999):
        words = signal(20_000)
        words[at] = encode(np.array([0.25]), 50_000.0)[0]
        write_capture(path, words.tobytes())

        found = gathered(path, 0, 20_000)

        assert found.radius.high.max() == pytest.approx(50_000)
        assert np.nanargmax(found.radius.high) == at // found.radius.column_words
        assert found.words == 20_000


def test_a_file_is_read_in_blocks_of_one_size_and_gaps_shift_what_follows(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plot, "_BLOCK_WORDS", 1000)
    words = signal(6000)
    words = np.concatenate([words[:2500], words[3500:]])
    write_capture(path, words.tobytes() + b"odd", ledger=[ledger_entry(2500, 1000)], words_lost=1000)

    blocks = [(index, part.size) for index, part in plot._blocks(path, file_info(path), 6000)]

    assert blocks == [(0, 1000), (1000, 1000), (2000, 500), (3500, 1000), (4500, 1000), (5500, 500)]
    found = gathered(path, 0, 6000)
    gap = np.isnan(found.phase.low)
    columns = np.arange(gap.size) * found.phase.column_words
    assert gap[(columns >= 2500) & (columns < 3500)].all()
    assert gap.sum() == 1000 // found.phase.column_words
    assert found.phase.high[-1] == pytest.approx(5999e-4, abs=1e-4)


def test_the_picture_is_written_where_it_is_wanted(path: Path, tmp_path: Path) -> None:
    write_capture(path, signal(5000).tobytes())

    made = plot.plot_file(path, tmp_path / "picture.png")

    assert made == tmp_path / "picture.png"
    assert made.read_bytes().startswith(PNG)


def test_without_a_display_the_picture_stands_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "2026-11-22T10:00:00.123456.bin"
    write_capture(path, signal(5000).tobytes())

    assert plot.plot_file(path) == tmp_path / "2026-11-22T10:00:00.123456.png"


def test_a_file_without_a_sidecar_can_be_drawn(path: Path) -> None:
    write_capture(path, signal(5000).tobytes(), sidecar=False)

    assert plot.plot_file(path) is not None


def drawn(path: Path, **part: float) -> Any:
    """Return the figure of a file instead of a picture of it."""
    from matplotlib.figure import Figure

    info = file_info(path)
    window = plot._window(info, part.get("start_s"), part.get("duration_s"))
    figure = Figure(figsize=(12, 8), layout="constrained")
    plot._draw(figure, info, plot._gather(path, info, window), window)
    return figure


def test_picture_says_units_settings_rate_length_losses_gaps_and_stalls(path: Path) -> None:
    words = signal(40_000)
    write_capture(
        path,
        np.concatenate([words[:10_000], words[20_000:]]).tobytes(),
        ledger=[ledger_entry(10_000, 10_000)],
        words_lost=10_000,
        sink={"stalls": [{"at_s": 0.008, "for_s": 0.002}, {"at_s": 0.012, "for_s": 0.004}]},
        meta={"price": "$5"},
    )

    figure = drawn(path)

    phase, radius, bars, side = figure.axes
    assert phase.get_ylabel() == "phase, unwrapped (turns)"
    assert radius.get_ylabel() == "radius (ADC counts)"
    assert "(s)" in radius.get_xlabel()
    assert bars.get_xlabel() == "words per bin"
    title = figure.get_suptitle()
    assert "one.bin\nteststream -U /dev/usbhybrid0 -s 4 -l -b\n" in title
    assert "2 MHz, 0.02 s, 30,000 words, 10,000 words lost" in title
    for axes in (phase, radius):
        spans = {patch.get_label(): patch.get_extents() for patch in axes.patches}
        assert {"words lost", "destination stalled"} <= set(spans)
        gap = next(patch for patch in axes.patches if patch.get_label() == "words lost")
        assert gap.get_x() == pytest.approx(0.005)
        assert gap.get_width() == pytest.approx(0.005)
        assert len(axes.patches) == 3
    assert "stalls: 2, longest 0.004 s" in side.texts[0].get_text()
    assert [text.get_text() for text in side.get_legend().get_texts()].count("destination stalled") == 1


def test_no_two_texts_of_the_picture_overlap(path: Path) -> None:
    meta = {f"a_rather_long_key_{k}": "and a long value that goes on and on" for k in range(20)}
    write_capture(
        path, signal(40_000).tobytes(), meta=meta, sink={"stalls": [{"at_s": 0.001, "for_s": 0.002}]}
    )
    figure = drawn(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    phase, radius, bars, side = figure.axes
    boxes = [
        figure._suptitle.get_window_extent(renderer),
        side.get_legend().get_window_extent(renderer),
        side.texts[0].get_window_extent(renderer),
        *(axes.get_tightbbox(renderer) for axes in (phase, radius, bars)),
    ]
    edge = figure.bbox
    assert all(edge.x0 <= box.x0 and box.x1 <= edge.x1 and edge.y0 <= box.y0 for box in boxes)
    assert not [
        (a, b) for k, a in enumerate(boxes) for b in boxes[k + 1 :] if a.shrunk(0.99, 0.99).overlaps(b)
    ]


def test_a_part_is_drawn_on_the_files_own_time_axis(path: Path) -> None:
    write_capture(path, signal(40_000).tobytes())

    figure = drawn(path, start_s=0.01, duration_s=0.005)

    assert figure.axes[0].get_xlim() == pytest.approx((0.01, 0.015))
    low, high = figure.axes[0].get_ylim()
    assert low < 2.0 < 3.0 < high
    assert high < 3.2


def test_a_part_that_is_all_gap_is_an_empty_picture_not_an_error(path: Path) -> None:
    words = signal(40_000)
    write_capture(
        path,
        np.concatenate([words[:10_000], words[30_000:]]).tobytes(),
        ledger=[ledger_entry(10_000, 20_000)],
        words_lost=20_000,
    )

    assert plot.plot_file(path, start_s=0.006, duration_s=0.002) is not None


@pytest.mark.parametrize("part", [{"start_s": 1.0}, {"start_s": -0.1}, {"duration_s": 0.0}])
def test_a_part_outside_the_file_is_refused_with_the_files_length(path: Path, part: dict[str, float]) -> None:
    write_capture(path, signal(5000).tobytes())

    with pytest.raises(ValueError, match=r"lasts 0\.0025 s"):
        plot.plot_file(path, **part)  # type: ignore[arg-type]


def test_what_cannot_be_drawn_is_refused_by_name(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StreamFormatError, match="No such file"):
        plot.plot_file(path)
    write_capture(path, b"")
    with pytest.raises(StreamFormatError, match="holds no words"):
        plot.plot_file(path)
    write_capture(path, signal(100).tobytes(), header=b"", sample_rate_hz=None)
    with pytest.raises(StreamFormatError, match="rate is not known"):
        plot.plot_file(path)


@pytest.mark.parametrize("target", ["missing/picture.png", "picture.nonsense"])
def test_a_picture_that_cannot_be_written_is_named(path: Path, tmp_path: Path, target: str) -> None:
    write_capture(path, signal(100).tobytes())

    with pytest.raises(ConfigError, match=target):
        plot.plot_file(path, tmp_path / target)


def test_without_matplotlib_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_capture(path, signal(100).tobytes())
    real = builtins.__import__

    def no_matplotlib(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ConfigError, match=r"fastcap\[plot\]"):
        plot.plot_file(path)


def test_a_window_is_opened_only_where_there_is_a_display(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_capture(path, signal(100).tobytes())
    monkeypatch.setattr(sys, "platform", "linux")
    assert not plot._has_display()
    monkeypatch.setenv("DISPLAY", ":7")
    assert plot._has_display()
    shown: list[int] = []
    from matplotlib.figure import Figure

    monkeypatch.setattr(plot, "_canvas", lambda *, windowed: (Figure, lambda: shown.append(windowed)))
    assert plot.plot_file(path) is None
    assert shown == [True]
