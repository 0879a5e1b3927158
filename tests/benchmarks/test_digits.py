"""Digits: the loss that is trained is the one written down, and what is read of a network."""

import numpy as np
import pytest

pytest.importorskip("jax")
pytest.importorskip("sklearn")
from benchmarks.findings import digits
from benchmarks.findings.digits import SETTINGS, Setting
from benchmarks.findings.training.runs import encoder_starts, starts


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_loss_is_the_written_one(setting):
    outputs = 10 if setting.task == "classifier" else 64
    D = starts(outputs, setting.m, range(2), dtype="float32")
    E = encoder_starts(64, setting.m, range(2), dtype="float32")
    ((_, _, losses),) = digits.fit(setting, [(D, E)], [0])
    seen, classes, *_ = digits.images()
    target = np.eye(10)[classes] if setting.task == "classifier" else seen
    for k in range(2):
        h = seen @ E[k]
        h = np.maximum(h, 0.0) if setting.hidden == "relu" else h
        error = ((np.maximum(h @ D[k].T, 0.0) - target) ** 2).sum(axis=1)
        each = error + 0.005 * np.abs(h).sum(axis=1)
        written = 10.0 * each.mean() + 0.005 * np.abs(D[k]).sum()
        assert losses[k] == pytest.approx(written, rel=1e-5)


def test_images_have_length_one_on_average_and_none_is_on_both_sides():
    seen, seen_class, apart, apart_class = digits.images()
    assert (len(seen), len(seen_class)) == (600, 600)
    assert len(apart) == len(apart_class) == 1797 - 600
    squares = np.concatenate([(seen**2).sum(axis=1), (apart**2).sum(axis=1)])
    assert squares.mean() == pytest.approx(1.0)
    assert set(seen_class) == set(apart_class) == set(range(10))


@pytest.mark.parametrize("kind", ["principal directions", "random directions"])
def test_directions_are_orthonormal(kind):
    V = digits.directions(kind)
    assert V.shape == (10, 64)
    np.testing.assert_allclose(V @ V.T, np.eye(10), atol=1e-12)


def test_principal_directions_come_by_their_variance():
    seen, *_ = digits.images()
    variance = np.var(seen @ digits.directions("principal directions").T, axis=0)
    assert (np.diff(variance) < 0.0).all()
    assert variance.sum() > 0.6 * np.var(seen, axis=0).sum()


def test_pairs_on_a_neuron_are_told_by_their_signs():
    A = np.zeros((5, 4))
    A[[0, 1, 2], 0] = 1.0, -1.0, 1.0
    A[[3, 4], 2] = 1.0, 1.0
    assert digits.signs(A) == {"opposite": 2, "equal": 2}


def test_networks_are_trained_read_and_duplicated():
    runs = digits.measure(Setting(m=6), seeds=range(2), looks=(2, 20), on=5)
    runs = [{**run, "setting": SETTINGS[0].name} for run in runs]
    start = [(starts(10, 6, [0], dtype="float32"), encoder_starts(64, 6, [0], dtype="float32"))]
    ((D, E, losses),) = digits.fit(Setting(m=6), start, [20])
    (mine,) = (
        run for run in runs
        if (run.get("features"), run["seed"], run.get("steps")) == ("outputs", 0, 20)
    )  # fmt: skip
    assert mine["loss"] == pytest.approx(losses[0], rel=1e-5)
    assert mine["told"] == pytest.approx(digits.told(Setting(m=6), D[0], E[0]), abs=0.01)
    columns, rows = digits.table(runs)
    assert len(rows) == 5
    assert {len(row) for row in rows} == {len(columns)}
    columns, rows = digits.parted(runs)
    assert rows
    assert {len(row) for row in rows} == {len(columns)}
