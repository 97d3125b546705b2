"""Result arrays, tables and pictures, from journals that tests write."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from sweep_fixtures import order

import fastcap as fc
from fastcap.sweeping.results import Results
from fastcap.sweeping.store import Store


def made(tmp_path, values, *, axes=([0, 1],), repeats=1):
    """Return results in which each recording gave what ``values`` has for its place; None: not done."""
    planned = order(*axes, repeats=repeats)
    store = Store(planned)
    for shot in planned:
        given = values.get(shot.place)
        key = planned.key(shot)
        if given is None:
            store.take({"event": "begin", "key": key, "attempt": 1})
            store.take({"event": "failed", "key": key, "attempt": 1, "reason": "broken"})
            continue
        done = {
            "event": "done",
            "key": key,
            "attempt": 2,
            "file": f"{shot.place}.bin",
            "readback": {"x": 0.5},
        }
        error = given if isinstance(given, str) else None
        store.take({**done, "readings": {}, "values": None if error else given, "error": error})
    return Results(tmp_path, store)


def test_missing_is_nan_with_its_reason(tmp_path):
    res = made(tmp_path, {(0, 0): {"a": 1}, (0, 1): {"a": 3}, (1, 0): "Oops: no"}, repeats=2)

    assert res["a"].shape == (2, 2)
    assert np.isnan(res["a"]).tolist() == [[False, False], [True, True]]
    assert res.failed == {(1, 0): "analysis: Oops: no", (1, 1): "broken"}
    assert res.mean("a").tolist()[0] == 2
    assert np.isnan(res.mean("a")[1])
    assert res.std("a")[0] == 1
    assert (res.done, res.complete) == (3, False)


def test_values_of_every_kind(tmp_path):
    first = {"v": [[1, 2], [3, 4]], "flag": True, "text": "abc", "inner": {"deep": 5}, "none": None}
    res = made(tmp_path, {(0, 0): first, (1, 0): {**first, "text": "longer text"}})

    assert res["v"].shape == (2, 1, 2, 2)
    assert res["v"][1, 0].tolist() == [[1, 2], [3, 4]]
    assert res["flag"].tolist() == [[1], [1]]
    assert res["text"].tolist() == [["abc"], ["longer text"]]
    assert res["inner.deep"].tolist() == [[5], [5]]
    assert np.isnan(res["none"]).all()
    assert res.complete


@pytest.mark.parametrize(
    ("other", "why"),
    [({"v": [1, 2, 3]}, "shape"), ({"w": 1}, "gave no 'v'"), ({"v": [[1], [1, 2]]}, "several lengths")],
)
def test_value_that_does_not_fit_is_missing_with_its_reason(tmp_path, other, why):
    res = made(tmp_path, {(0, 0): {"v": [1, 2]}, (1, 0): other})

    assert np.isnan(res["v"][1]).all()
    assert why in res.failed[1, 0]


def test_unknown_name_suggests_a_known_one(tmp_path):
    with pytest.raises(KeyError, match="did you mean 'mean'"):
        made(tmp_path, {(0, 0): {"mean": 1}})["maen"]


def test_npz_holds_everything_whatever_the_names(tmp_path):
    res = made(tmp_path, {(0, 0): {"file": 1, "x": 2, "a": [1, 2]}})
    with np.load(res.to_npz(tmp_path / "r.npz")) as saved:
        assert saved["x"].tolist() == [0, 1]
        assert saved["result_x"][0, 0] == 2
        assert saved["result_file"][0, 0] == 1
        assert saved["a"].shape == (2, 1, 2)
        assert saved["dims"].tolist() == ["x", "repeat"]
        assert saved["failed"].tolist() == ["broken"]
        assert saved["failed_at"].tolist() == [[1, 0]]
        assert saved["attempts"].tolist() == [[0], [1]]


def test_csv_has_a_line_for_every_place(tmp_path):
    res = made(tmp_path, {(0, 0, 0): {"a": [1, 2]}}, axes=([0, 1], [5, 6]))
    with res.to_csv(tmp_path / "r.csv").open() as file:
        lines = list(csv.DictReader(file))

    assert len(lines) == 4
    assert (lines[0]["x"], lines[0]["y"], lines[0]["a[1]"], lines[0]["missing"]) == ("0.0", "5.0", "2.0", "")
    assert (lines[3]["x"], lines[3]["y"], lines[3]["a[1]"], lines[3]["missing"]) == (
        "1.0",
        "6.0",
        "",
        "broken",
    )


def test_xarray_has_axes_as_coordinates(tmp_path):
    pytest.importorskip("xarray")
    data = made(tmp_path, {(0, 0): {"a": [1, 2]}}, axes=([0, 1, 1, 0],)).to_xarray()

    assert data["a"].dims == ("x", "repeat", "a_0")
    assert data["x"].to_numpy().tolist() == [0, 1, 1, 0]
    assert data["x_direction"].to_numpy().tolist() == [1, 1, -1, -1]
    assert data["missing"].to_numpy()[3, 0] == "broken"


def test_picture_of_one_axis_has_both_directions(tmp_path):
    places = {(k, r): {"a": k + r, "v": [1, 2]} for k in range(6) for r in range(2) if k != 4}
    figure = made(tmp_path, places, axes=([0, 1, 2, 2, 1, 0],), repeats=2).plot(path=tmp_path / "p.png")

    (panel,) = figure.axes
    assert {text.get_text() for text in panel.get_legend().get_texts()} == {"up", "down", "missing"}
    assert (tmp_path / "p.png").stat().st_size > 5000


def test_picture_of_two_axes_is_an_image_for_each_direction(tmp_path):
    places = {(j, k, 0): {"a": j + k} for j in range(3) for k in range(4)}
    figure = made(tmp_path, places, axes=([0, 1, 2], [0, 1, 1, 0])).plot("a", tmp_path / "p.png")
    images = [panel for panel in figure.axes if panel.get_title()]

    assert [panel.get_title() for panel in images] == ["y up", "y down"]
    up, down = (panel.collections[0].get_array().reshape(3, 2).tolist() for panel in images)
    assert up == [[0, 1], [1, 2], [2, 3]]
    assert down == [[3, 2], [4, 3], [5, 4]]


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        made(tmp_path, {(0, 0): {"v": [1, 2]}}).plot()
    with pytest.raises(ValueError, match="not one number"):
        made(tmp_path, {(0, 0): {"v": [1, 2]}}).plot("v")


def test_folder_without_a_sweep_is_said_so(tmp_path):
    with pytest.raises(fc.SweepError, match="holds no sweep"):
        fc.load_sweep(tmp_path)
