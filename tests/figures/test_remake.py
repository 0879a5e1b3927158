"""Shipped tables made anew: what is said of differences, and what a first look at nothing says."""

import json
import shutil
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.command import command_line
from flow.sweep import InputError, Run
from flow.sweep import run as sweep
from paper_figures.tools import remake

runs = st.dictionaries(
    st.tuples(st.sampled_from([8, 16]), st.sampled_from([8, 32]), st.integers(0, 5)),
    st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2,
)  # fmt: skip


@given(runs)
def test_a_table_does_not_differ_from_itself(counts):
    lines = remake.differences(counts, counts)
    assert lines[0].startswith(f"{len(counts):,} runs of {len(counts):,}")
    assert [line.split(" runs, ")[0] for line in lines[1:]] == [
        f"{name}: another number in 0" for name in remake.COMPARED
    ]


@given(runs, st.integers(1, 3))
def test_one_more_everywhere_is_a_mean_difference_of_one_without_error(counts, more):
    moved = {key: (value[0] + more, value[1]) for key, value in counts.items()}
    first = remake.differences(counts, moved)[1]
    assert f"another number in {len(counts):,} runs, mean difference {more:+.3g} ± 0;" in first


def test_only_runs_that_are_in_both_are_compared():
    old = {(8, 8, seed): (seed, seed) for seed in range(4)}
    new = {(8, 8, seed): (seed + (seed == 3), seed) for seed in (2, 3, 7)}
    lines = remake.differences(old, new)
    assert lines[0] == "2 runs of 4 are in both"
    assert lines[1].startswith("polysemantic: another number in 1 runs, mean difference +0.5 ±")
    assert remake.differences(old, {}) == ["no run is in both yet"]


def test_the_shipped_tables_are_read_run_by_run():
    assert len(remake.PARTS["fig3"].counts()) == 256
    assert len(remake.PARTS["map"].counts()) > 17_000


def test_looking_at_nothing_runs_nothing(tmp_path, capsys):
    remake.main(("fig3", "map"), folder=tmp_path / "new", compare=True)
    assert capsys.readouterr().out == "fig3: nothing is there yet\nmap: nothing is there yet\n"


@pytest.mark.parametrize("words", [["nothing"], ["fig3", "--workers", "0"]])
def test_what_cannot_be_is_refused(words, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["remake", *words])
    with pytest.raises(SystemExit) as ended:
        command_line(remake.main)
    assert ended.value.code == 2


def test_a_part_that_lacks_runs_is_not_shipped(tmp_path, monkeypatch):
    for path in (remake.COLLISIONS, remake.NOISE):
        kept = json.loads(path.read_text())
        if path is remake.NOISE:
            columns = kept["counts"]["runs"].values()
            for column in columns:
                column.pop()
        else:
            kept["runs"].pop()
        (tmp_path / path.name).write_text(json.dumps(kept))
    sweep([Run(n=4, m=6, lam=0.1)], tmp_path / "fig3.sqlite", workers=1)
    (tmp_path / "map.sqlite").write_bytes((tmp_path / "fig3.sqlite").read_bytes())
    monkeypatch.setattr(shutil, "copyfile", forbidden)
    monkeypatch.setattr(remake.fig3_table, "write", forbidden)
    monkeypatch.setattr(remake.map_table, "write", forbidden)
    assert set(remake.PARTS) == set(remake.ALL)
    for part in remake.PARTS.values():
        with pytest.raises(InputError, match=r"lacks 1$|lacks [\d,]+; go on with"):
            part.ship(part.made(tmp_path))


def forbidden(*_, **__):
    raise AssertionError("a shipped table was about to be written")


def test_a_part_that_has_all_is_shipped(tmp_path):
    shipped, made = tmp_path / "shipped.json", tmp_path / "made.json"
    table = json.loads(remake.COLLISIONS.read_text())
    shipped.write_text(json.dumps(table))
    table["runs"][0]["polysemantic"] += 1
    made.write_text(json.dumps(table))
    remake._copy(shipped, remake._collision_counts, made)
    assert shipped.read_text() == made.read_text()
