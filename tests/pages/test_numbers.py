"""Numbers in the pages are those of the files of results."""

from __future__ import annotations

import json
import re
import tomllib

import numpy as np
import pytest

from benchmarks.findings import collisions
from flow.analysis.statistics import mean_and_interval
from paper_figures import fig3_counts
from paper_figures.tools import benchmark_results, map_table
from tests import ROOT
from theory.counting import slot_mean
from theory.universal import universal_law

README = (ROOT / "README.md").read_text(encoding="utf-8")
FINDINGS = (ROOT / "benchmarks/findings/README.md").read_text(encoding="utf-8")
FLOW = (ROOT / "flow/README.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")


def read(file):
    return json.loads((ROOT / file).read_text(encoding="utf-8"))


def flat(page):
    return " ".join(page.split())


def shown(values, digits=1):
    mean, half = mean_and_interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def test_the_table_of_speed_is_the_benchmarks():
    table = benchmark_results.part("benchmarks/results.json", "whole")
    names = table["columns"]
    for row in table["rows"]:
        run = dict(zip(names, row, strict=True))
        [line] = [
            line for line in README.splitlines()
            if f"n = {run['n']}, m = {run['m']}, λ = {run['λ']:g}" in line and line.startswith("|")
            and ("c = 4" in line) == (run["c"] == 4.0)
        ]  # fmt: skip
        seconds, steps, evaluations = (cell.strip() for cell in line.split("|")[2:5])
        digits = len(seconds.replace(".", "").lstrip("0"))
        assert f"{run['median s']:.{digits}g}" == f"{float(seconds):.{digits}g}"
        assert (steps, evaluations) == (f"{run['steps']:,}", f"{run['evaluations']:,}")


def test_the_sizes_nobody_had_looked_at_are_the_benchmarks():
    table = benchmark_results.part("benchmarks/results.json", "large")
    for row in table["rows"]:
        run = dict(zip(table["columns"], row, strict=True))
        [line] = [x for x in BENCHMARKS.splitlines() if f"n={run['n']}, m={run['m']}, " in x]
        assert (
            f"{run['s']:.0f} s, {run['steps']} steps, {run['evaluations']:,} evaluations, "
            f"{run['peak MiB'] / 1024:.1f} GiB"
        ) in line
        assert f"{run['polysemantic'] or 'no'} neuron" in line
        assert f"slot law {run['slot law']}" in line


def test_how_long_a_release_takes_is_the_benchmarks():
    table = benchmark_results.part("benchmarks/results.json", "explore")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    of = {(row["n"], row["m"]): row for row in rows}
    for size, digits in (((64, 128), 2), ((256, 1024), 1)):
        first, panels = (
            f"{of[size][f'median ms to {what}'] / 1e3:.{digits}f} s"
            for what in ("W and counts", "all panels")
        )
        worst, last = (
            f"{of[size][name] / 1e3:.{digits}f} s" for name in ("worst ms", "worst ms of all")
        )
        assert f"median {first}, worst {worst}; {panels}, {last}" in flat(BENCHMARKS)
        if size == (64, 128):
            assert f"{first} after a control is released, all panels after {panels}" in flat(FLOW)


def test_what_precision_costs_is_the_benchmarks():
    table = benchmark_results.part("benchmarks/results.json", "precision")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    ours = [row for row in rows if row["method"] == "ours"]
    [peer] = [row for row in rows if row["method"] == "SciPy RK45" and "1e-3" in row["setting"]]
    better = min(row["evaluations"] for row in ours if row["median error"] <= peer["median error"])
    assert f"the error that {better:.0f} evaluations reach here" in flat(README)
    assert f"SciPy's RK45 takes {peer['evaluations']:,.0f}" in flat(README)


def test_the_table_of_collisions_is_that_of_its_runs():
    kept = read("benchmarks/findings/collisions.json")
    names = collisions.COLUMNS
    for m in (256, 512, 1024, 2048, 4096):
        runs = [run for run in kept["runs"] if run["m"] == m]
        row = dict(zip(names, collisions.row(runs), strict=True))
        assert list(row.values()) in kept["table"]
        [line] = [
            line for line in FINDINGS.splitlines() if line.startswith(f"| {m} | {row[names[1]]}")
        ]
        for name in ("slot law", "nobody moves", "n²/4m", "largest wins", "median rank",
                     "revived winners"):  # fmt: skip
            assert f"| {row[name]} |" in line


def test_who_wins_by_epsilon_is_that_of_the_map():
    said = re.search(
        r"for (\d+), (\d+) and (\d+) % of the features at ε = 1, 4 and 8", flat(README)
    )
    assert said is not None
    shares: dict[float, dict[tuple[int, int], list[float]]] = {1.0: {}, 4.0: {}, 8.0: {}}
    for row in map_table.read().rows:
        n, m = row["n"], row["m"]
        small = round(row["lam_sqrt_m_over_c"], 6) == 0.01
        if small and row["finished"] and m >= 4 * n and n / m**0.5 in shares:
            cell = shares[n / m**0.5].setdefault((n, m), [])
            cell.append(100 * row["largest_stayed"] / n)
    for number, cells in zip(said.groups(), shares.values(), strict=True):
        means = [np.mean(values) for values in cells.values()]
        assert np.mean(means) == pytest.approx(float(number), abs=0.6)
        assert all(abs(mean - float(number)) <= 2.0 for mean in means)


def test_the_tables_of_training_are_those_of_their_runs():
    pytest.importorskip("jax")
    from benchmarks.findings.training.winners import WINNERS

    runs = [run for case in read(WINNERS.file).values() for run in case["runs"]]
    columns, rows = WINNERS.table(runs)
    for row in rows:
        cells = dict(zip(columns, row, strict=True))
        if cells["optimizer"] in ("proximal, η = 0.1", "AdamW, 75,000 steps"):
            continue
        line = [cells[name] for name in columns if name not in ("seeds", "steps", "residual")]
        assert f"| {' | '.join(line)} |" in FINDINGS
        if cells["m"] == "128" and cells["optimizer"].startswith(("gradient", "AdamW")):
            assert f"{cells[columns[4]]} %" in README


def test_the_counts_of_figure_3_are_those_of_its_runs():
    rows = fig3_counts.rows(fig3_counts.FULL)
    groups = fig3_counts.fig3_table.by_m(rows, "polysemantic")
    share, half = fig3_counts.share_of_paper_count(256, groups)
    assert f"has {share:.2f} ± {half:.2f} times n²/4m" in flat(FINDINGS)
    assert f"and {shown(groups[256])} at m = 256" in flat(FINDINGS)


def test_the_share_of_the_count_at_small_coupling_is_that_of_the_map():
    rows = [row for row in map_table.read().rows if row["finished"]]
    few = [
        row for row in rows
        if row["m"] >= 2 * row["n"] and row["n"] >= 64
        and 0.009 < row["lam_sqrt_m_over_c"] < 0.05
    ]  # fmt: skip
    # Runs of one n, m and seed share their start: one number for each.
    starts: dict[tuple[int, int], dict[int, list[int]]] = {}
    for row in few:
        cell = starts.setdefault((row["n"], row["m"]), {})
        cell.setdefault(row["seed"], []).append(row["polysemantic"])
    law = sum(float(slot_mean(*size)) * len(cell) for size, cell in starts.items())
    means = [[np.mean(counts) for counts in cell.values()] for cell in starts.values()]
    ratio = sum(map(sum, means)) / law
    half = 1.96 * np.sqrt(sum(len(cell) * np.var(cell, ddof=1) for cell in means)) / law
    assert f"a map of {len(rows):,} runs has {ratio:.2f} ± {half:.2f} of it" in flat(README)


def test_noise_does_what_its_file_says():
    part = benchmark_results.part("benchmarks/findings/noise.json", "rate")
    at = part["times"].index(100.0)
    ends = {
        str(curve["what"]): curve["l4"][at]
        for curve in part["curves"] if curve["n"] == 8
    }  # fmt: skip
    assert (
        f"to {ends['flow']:.2f} by t = 100, SGD with rate 0.02 only to {ends['0.02']:.2f}"
        in flat(README)
    )


def test_the_papers_curve_is_off_by_what_is_said():
    p = pytest.importorskip("paper_figures.fig2_sparsification").FULL
    law = universal_law(
        np.linspace(0.0, 10.0, 40_001)[1:], coupling=p.lam * np.sqrt(p.m), norm=p.scale
    )
    from theory.universal import paper_curve

    times = law.time / (p.lam * np.sqrt(p.m))
    late = (times >= 1.0) & (law.survivors * p.m >= 2.0)
    drawn, _ = paper_curve(times[late], p.lam, p.m)
    above = np.max(drawn / (law.l1[late] * np.sqrt(p.m))) - 1
    assert f"up to {100 * above:.0f} % above it" in flat(README)


def test_versions_are_one():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^version: (.*)$", cited) == [version]
