"""Pictures: they say what is in them and what was lost, and nothing in them overlaps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_files import ledger_entry, write_capture

from fastcap import Trace, load, plot
from fastcap.errors import ConfigError, StreamFormatError
from fastcap.words import encode

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


def write_with_gap(path: Path, **changed: Any) -> None:
    words = signal(40_000)
    kept = np.concatenate([words[:10_000], words[20_000:]])
    write_capture(
        path,
        kept.tobytes(),
        ledger=[ledger_entry(10_000, 10_000)],
        words_lost=10_000,
        duration_s=0.02,
        **changed,
    )


def boxes_of(figure: Any) -> list[Any]:
    """Draw, and return the places of everything that holds text."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    phase, radius, bars, spectrum, legend, side = figure.axes
    return [
        figure._suptitle.get_window_extent(renderer),
        legend.get_legend().get_window_extent(renderer),
        side.texts[0].get_window_extent(renderer),
        *(axes.get_tightbbox(renderer) for axes in (phase, radius, bars, spectrum)),
    ]


def climbing(n: int) -> Any:
    """Return words with the start-up transient: a radius that climbs for 12,000 words, then is steady."""
    return encode(np.arange(n) * 1e-4, np.minimum(20_000.0 + np.arange(n), 32_000.0))


@pytest.mark.parametrize("words", [100_000, 5_000_000])
def test_scale_of_the_radius_and_its_bars_leave_the_transient_out(words: int) -> None:
    figure = plot.plot_trace(Trace.from_words(climbing(words), sample_rate=2_000_000))

    _, radius, bars, *_ = figure.axes
    assert 31_900 < radius.get_ylim()[0] < radius.get_ylim()[1] < 32_100
    assert min(bar.get_y() for bar in bars.patches) > 31_900
    assert "behind the transient" in bars.get_xlabel()


@pytest.mark.parametrize(("start", "duration"), [("0s", "5ms"), ("10ms", "5ms")])
def test_a_window_that_holds_nothing_but_transient_or_none_of_it_is_scaled_to_itself(
    start: str, duration: str
) -> None:
    figure = plot.plot_trace(
        Trace.from_words(climbing(100_000), sample_rate=2_000_000), start=start, duration=duration
    )

    _, radius, bars, *_ = figure.axes
    low, high = radius.get_ylim()
    assert (low < 20_000) == (start == "0s")
    assert low < high
    assert bars.get_xlabel() == "words per bin\n(every word)"


def test_picture_says_units_settings_rate_length_losses_gaps_and_stalls(path: Path) -> None:
    stalls = [{"at_s": 0.008, "for_s": 0.002}, {"at_s": 0.012, "for_s": 0.004}]
    write_with_gap(path, sink={"stalls": stalls}, meta={"price": "$5"})

    figure = plot.plot_trace(load(path))

    phase, radius, bars, spectrum, legend, side = figure.axes
    assert phase.get_ylabel() == "phase, unwrapped (turns)"
    assert radius.get_ylabel() == "radius (ADC counts)"
    assert spectrum.get_ylabel() == "phase spectrum (rad²/Hz)"
    assert (spectrum.get_xscale(), spectrum.get_yscale()) == ("log", "log")
    assert spectrum.get_xlabel() == "frequency (Hz)"
    assert "(s)" in phase.get_xlabel()
    assert "(s)" in radius.get_xlabel()
    assert bars.get_xlabel() == "words per bin\n(every word\nbehind the transient)"
    title = figure.get_suptitle()
    assert "one.bin\nteststream -U /dev/usbhybrid0 -s 4 -l -b\n" in title
    assert "2 MHz, 20 ms, 30,000 words, 10,000 words lost" in title
    assert "stalls: 2, longest 0.004 s" in side.texts[0].get_text()
    assert r"price: \$5" in side.texts[0].get_text()
    labels = [text.get_text() for text in legend.get_legend().get_texts()]
    assert sorted(labels) == ["destination stalled", "least to greatest", "words lost"]


def test_gaps_and_stalls_are_shaded_from_bottom_to_top(path: Path) -> None:
    write_with_gap(path, sink={"stalls": [{"at_s": 0.008, "for_s": 0.002}]})

    for axes in plot.plot_trace(load(path)).axes[:2]:
        marks = [c for c in axes.collections if c.get_label() != "least to greatest"]
        assert all(c.get_transform() == axes.get_xaxis_transform() for c in marks[-2:])
        spans = {c.get_label(): c.get_paths()[0].get_extents() for c in marks}
        gap, stall = spans["words lost"], spans["destination stalled"]
        assert (gap.x0, gap.x1, gap.y0, gap.y1) == pytest.approx((0.005, 0.01, 0, 1))
        assert (stall.x0, stall.x1) == pytest.approx((0.008, 0.01))


def test_nothing_is_drawn_over_a_gap(path: Path) -> None:
    write_with_gap(path)

    axes = plot.plot_trace(load(path)).axes[0]

    drawn = [c.get_paths()[0].get_extents() for c in axes.collections if c.get_label() != "words lost"]
    assert [(box.x0, box.x1) for box in drawn] == [pytest.approx((0, 0.005)), pytest.approx((0.01, 0.02))]


@pytest.mark.parametrize("part", [{}, {"start": 0.0101, "duration": "12us"}])
def test_no_two_texts_of_the_picture_overlap(path: Path, part: dict[str, Any]) -> None:
    meta = {f"a_rather_long_key_{k}": "and a long value that goes on and on" for k in range(20)}
    write_capture(
        path, signal(40_000).tobytes(), meta=meta, sink={"stalls": [{"at_s": 0.001, "for_s": 0.002}]}
    )

    figure = plot.plot_trace(load(path), **part)

    boxes, edge = boxes_of(figure), figure.bbox
    assert all(edge.x0 <= box.x0 and box.x1 <= edge.x1 and edge.y0 <= box.y0 for box in boxes)
    assert not [
        (a, b) for k, a in enumerate(boxes) for b in boxes[k + 1 :] if a.shrunk(0.99, 0.99).overlaps(b)
    ]


def test_a_part_is_drawn_on_the_files_own_time_axis(path: Path) -> None:
    write_with_gap(path)

    figure = plot.plot_trace(load(path), start="12ms", duration=0.005)

    assert figure.axes[0].get_xlim() == pytest.approx((0.012, 0.017))
    assert "5 ms from 0.012 s on, 10,000 words, 10,000 words lost in the whole file" in figure.get_suptitle()


def test_a_window_is_told_from_the_whole_file_as_a_part_is(path: Path) -> None:
    write_with_gap(path)
    trace = load(path)

    window = plot.plot_trace(trace.window("12ms", "5ms"))

    assert window.get_suptitle() == plot.plot_trace(trace, start="12ms", duration="5ms").get_suptitle()
    slow = Trace.from_words(signal(4000), sample_rate=1000, start=trace.start)
    told = [plot.plot_trace(part).axes[5].texts[0].get_text() for part in (slow, slow[2000:])]
    assert told[0] == told[1]  # the start from which the time axis counts


def test_too_few_words_for_a_spectrum_are_said_to_be(path: Path) -> None:
    write_capture(path, signal(40).tobytes())

    (text,) = plot.plot_trace(load(path)).axes[3].texts

    assert "too few words" in text.get_text()


def test_a_phase_that_never_changes_is_said_to_have_no_spectrum(path: Path) -> None:
    write_capture(path, np.zeros(40_000, "<u8").tobytes())

    (text,) = plot.plot_trace(load(path)).axes[3].texts

    assert text.get_text() == "the phase never changes"


@pytest.mark.parametrize(("seconds", "unit", "end"), [(599, "s", 599), (1200, "min", 20), (36_000, "h", 10)])
def test_long_times_are_in_a_unit_that_can_be_read(seconds: int, unit: str, end: float) -> None:
    from fastcap import Trace

    axes = plot.plot_trace(Trace.from_words(signal(seconds), sample_rate=1)).axes[1]

    assert axes.get_xlabel() == f"time since the file's first word ({unit})"
    assert axes.get_xlim() == pytest.approx((0, end))
    assert axes.collections[0].get_paths()[0].get_extents().x1 == pytest.approx(end)


def test_words_in_memory_can_be_drawn() -> None:
    from fastcap import Trace

    figure = plot.plot_trace(Trace.from_words(signal(1000), sample_rate=1000))

    assert figure.get_suptitle() == "words in memory\n1 kHz, 1 s, 1,000 words, losses not known"


@pytest.mark.parametrize("name", ["picture.png", "picture.pdf", "picture.svg"])
def test_the_picture_is_written_where_it_is_wanted(path: Path, tmp_path: Path, name: str) -> None:
    write_capture(path, signal(5000).tobytes())

    plot.plot_trace(load(path), tmp_path / name)

    begins = {"png": PNG, "pdf": b"%PDF", "svg": b"<?xml"}[name[-3:]]
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_a_notebook_shows_the_figure_by_itself(path: Path) -> None:
    write_capture(path, signal(5000).tobytes())

    figure: Any = plot.plot_trace(load(path))

    assert figure._repr_png_().startswith(PNG)


def test_without_a_display_the_picture_stands_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "2026-11-22T10:00:00.123456.bin"
    write_capture(path, signal(5000).tobytes())

    assert plot.plot_file(path) == tmp_path / "2026-11-22T10:00:00.123456.png"


def test_with_a_display_but_no_toolkit_the_picture_stands_beside_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setenv("MPLBACKEND", "agg")
    write_capture(path, signal(5000).tobytes())

    assert plot.plot_file(path) == path.with_suffix(".png")


def test_a_file_without_a_sidecar_can_be_drawn(path: Path) -> None:
    write_capture(path, signal(5000).tobytes(), sidecar=False)

    assert plot.plot_file(path) is not None


@pytest.mark.parametrize("part", [{"start": 1.0}, {"duration": 0.0}, {"start": -0.1}, {"duration": "5m"}])
def test_a_part_outside_the_file_is_refused(path: Path, part: dict[str, Any]) -> None:
    write_capture(path, signal(5000).tobytes())

    with pytest.raises(ValueError, match=r"0\.0025 s|such as 30s"):
        plot.plot_file(path, **part)


def test_what_cannot_be_drawn_is_refused_by_name(path: Path) -> None:
    with pytest.raises(StreamFormatError, match="No such file"):
        plot.plot_file(path)
    write_capture(path, b"")
    with pytest.raises(StreamFormatError, match="holds no words"):
        plot.plot_file(path)
    with pytest.raises(StreamFormatError, match="not a regular file"):
        plot.plot_file(path.parent)


@pytest.mark.parametrize("target", ["missing/picture.png", "picture.nonsense", "one.bin"])
def test_a_picture_that_cannot_be_written_is_named(path: Path, tmp_path: Path, target: str) -> None:
    write_capture(path, signal(100).tobytes())
    before = path.read_bytes()

    with pytest.raises(ConfigError, match=target):
        plot.plot_file(path, tmp_path / target)

    assert path.read_bytes() == before


def test_without_matplotlib_the_extra_is_named(path: Path) -> None:
    write_capture(path, signal(100).tobytes())
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from fastcap import plot\nfrom fastcap.errors import ConfigError\n"
        "try:\n    plot.plot_file(sys.argv[1])\nexcept ConfigError as error:\n    print(error)"
    )

    said = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    ).stdout

    assert "matplotlib, which is not installed: pip install 'fastcap[plot]'" in said
