"""Follow a tone in a fibre through a night: record an emulated one, then a spectrum for each second of it."""

from pathlib import Path

import fastcap as fc

folder = Path("night")
folder.mkdir(exist_ok=True)

with fc.open("sim://?rate=100kHz&pattern=signal") as board:
    for _ in range(2):  # a night has more files, and they are longer
        board.record("2s", folder)

night = fc.load_many(folder / "*.bin")
print(night)

windows = night.windows("1s", min_fill=0.5)  # "15min" for a real night


def spectra(window):
    """Yield the spectra of a window's segments; `map` keeps their mean and spread."""
    yield from window.spectrogram("200ms", overlap=0.5, band_hz=(5, 500)).density


# a second run goes on where this one ends; scheduler="local" uses all cores
result = windows.map(spectra, results=folder / "results")
for time, fill, mean, spread in zip(result.time, result.fill, result.mean, result.spread, strict=True):
    print(f"{time}: {fill:4.0%} there, 5 Hz: {mean[0]:.3g} ± {spread[0]:.3g} rad²/Hz")

windows.spectrogram("200ms", band_hz=(5, 500)).plot(folder / "night.png")
