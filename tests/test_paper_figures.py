"""Figures: their numbers are what they say, they are drawn, and the same numbers give one file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from paper_figures import (
    FIGURES,
    cache,
    fig2_sparsification,
    making,
    style,
)

TOYS: dict[str, dict[str, Any]] = {
    "fig2_sparsification": {"m": 1000, "lam": 1e-3},
    "fig6_relative_variance": {"m": 500, "lam": 1e-3, "points": 20},
    "universal_law": {"ms": (1000, 10_000)},
}
"""Smaller still than --fast, where that takes more than a moment."""


@pytest.fixture(scope="module")
def drawn() -> dict[str, cache.Data]:
    """Numbers of every figure at toy size; computed when first asked for."""

    class Lazy(dict[str, cache.Data]):
        def __missing__(self, name: str) -> cache.Data:
            module = making.load(name)
            self[name] = module.compute(replace(module.FAST, **TOYS.get(name, {})))
            return self[name]

    return Lazy()


# Every figure ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_from_its_numbers_alone_and_twice_the_same(
    name: str, drawn: dict[str, cache.Data], tmp_path: Path
) -> None:
    module, data = making.load(name), drawn[name]
    assert all(np.asarray(values).dtype.kind in "biufU" for values in data.values())
    kept = cache.kept(tmp_path / "a.npz", lambda: data)
    again = cache.kept(tmp_path / "a.npz", lambda: pytest.fail("computed again"))
    files = []
    for k, numbers in enumerate((kept, again)):
        with style.in_style():
            picture = module.plot(numbers)
        if isinstance(picture, Figure):
            paths = [tmp_path / f"{k}.png", tmp_path / f"{k}.pdf"]
            for path in paths:
                style.save(picture, path)
        else:
            paths = [tmp_path / f"{k}.gif"]
            making.save_film(picture, paths[0])
        files.append([path.read_bytes() for path in paths])
    assert files[0] == files[1]
    with Image.open(paths[0]) as image:
        assert image.size[0] > 600


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_of_numbers_says_what_it_shows(name: str, drawn: dict[str, cache.Data]) -> None:
    with style.in_style():
        picture = making.load(name).plot(drawn[name])
    if isinstance(picture, Figure):
        for axis in picture.axes:
            if axis.axison and axis.get_label() != "<colorbar>":
                shared = axis.get_shared_x_axes().get_siblings(axis)
                assert any(other.get_xlabel() for other in shared), name
                shared = axis.get_shared_y_axes().get_siblings(axis)
                assert any(other.get_ylabel() for other in shared), name


def test_the_gallery_is_that_of_the_modules_and_every_figure_is_there() -> None:
    assert (making.HERE / "README.md").read_text() == making.gallery()
    for name in FIGURES:
        assert (making.HERE / f"{name}{making.suffix(name)}").exists()


def test_a_beginning_names_a_figure_and_a_wrong_name_is_refused() -> None:
    assert making.named(["fig2"]) == ["fig2_sparsification"]
    assert making.named([]) == list(FIGURES)
    with pytest.raises(SystemExit, match="fig9"):
        making.named(["fig9"])


# Numbers that are kept ---------------------------------------------------------------------------


def test_other_parameters_other_files_and_other_names_have_other_keys(tmp_path: Path) -> None:
    path = tmp_path / "read.json"
    path.write_text("1")
    keys = {
        cache.key("a", {"m": 1}, [path]), cache.key("b", {"m": 1}, [path]),
        cache.key("a", {"m": 2}, [path]), cache.key("a", {"m": 1}, []),
    }  # fmt: skip
    assert cache.key("a", {"m": 1}, [path]) in keys
    path.write_text("2")
    keys.add(cache.key("a", {"m": 1}, [path]))
    assert len(keys) == 5


def test_kept_numbers_are_read_and_a_file_that_is_cut_off_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.npz"
    calls = []

    def compute() -> cache.Data:
        calls.append(1)
        return {"x": np.arange(3.0), "name": np.array("λ")}

    for expected in (1, 1):
        data = cache.kept(path, compute)
        assert len(calls) == expected
        np.testing.assert_array_equal(data["x"], np.arange(3.0))
        assert str(data["name"]) == "λ"
    cache.kept(path, compute, fresh=True)
    assert len(calls) == 2
    path.write_bytes(path.read_bytes()[:-40])
    assert cache.kept(path, compute)["x"].size == 3
    assert len(calls) == 3
    assert [file.name for file in path.parent.iterdir()] == ["a.npz"]


# What the figures of one encoding say ------------------------------------------------------------


def test_figure_2_passes_through_the_reference_points() -> None:
    """THE_FLOW section 2: the paper's m and λ, NumPy's legacy seed 0."""
    times = np.array([100.0, 1e3, 1e4, 2e4, 5e4, 1e5])
    l1, survivors = fig2_sparsification.solution(fig2_sparsification.FULL, times)
    np.testing.assert_array_equal(survivors, [77649, 14420, 243, 61, 6, 3])
    np.testing.assert_allclose(l1, [218.58, 90.093, 11.168, 5.2826, 1.8844, 1.4594], rtol=5e-5)


def test_figure_2s_simulation_law_and_exact_solution_agree(drawn: dict[str, cache.Data]) -> None:
    data = drawn["fig2_sparsification"]
    t, l1, survivors = data["euler"]
    exact = np.interp(t, data["times"], data["l1"])
    early = t < 0.5 * t[-1]
    # Forward Euler with step h is late by about h/2: here 0.25 of a time of at least 1.
    np.testing.assert_allclose(l1[early & (t >= 5)], exact[early & (t >= 5)], rtol=0.01)
    assert survivors[-1] == 1
    law = np.interp(t, data["law"][0], data["law"][1])
    many = (survivors >= 50) & (t >= 5)
    assert np.count_nonzero(many) > 10
    # Scatter 1/√m' of a random start, five times: a false alarm in a million for one seed.
    assert np.all(np.abs(l1 / law - 1)[many] < 5 / np.sqrt(survivors[many]))


def test_the_universal_laws_residuals_are_the_scatter_of_a_random_start(
    drawn: dict[str, cache.Data],
) -> None:
    data = drawn["universal_law"]
    for m in data["ms"]:
        time, l1, share = data[f"m{m}"]
        np.testing.assert_array_equal(time, data["law"][0, : time.size])
        off = np.abs(l1 / data["law"][1, : time.size] - 1)
        assert np.all(off < 5 / np.sqrt(share * m))
        assert np.all(off[share > 0.5] < 0.05)


def test_figure_6s_relative_variance_lies_within_its_bounds(drawn: dict[str, cache.Data]) -> None:
    data = drawn["fig6_relative_variance"]
    low, high = data["own"]
    slack = 1e-9
    assert np.all(low - slack <= data["variance"])
    assert np.all(data["variance"] <= high + slack)
    assert data["law"][1, 0] == pytest.approx(np.pi / 2 - 1, abs=0.02)
    assert np.all(np.diff(data["law"][1]) > 0)
    many = data["survivors"] >= 100
    law = np.interp(data["times"], *data["law"])
    # Fourth moments of normal weights: standard deviation below 4/√m'.
    spread = 4 / np.sqrt(data["survivors"])
    assert np.all(np.abs(data["variance"] / law - 1)[many] < 5 * spread[many])
