"""Features of exclusive contexts: what is counted, and that a setting runs."""

import numpy as np
import pytest

pytest.importorskip("jax")
from benchmarks.findings import context, told_apart
from benchmarks.findings.context import Setting
from benchmarks.findings.training.runs import gather, interval, pick
from theory.ledger import find


def test_pairs_are_told_by_their_blocks_and_signs():
    D = np.zeros((6, 5))
    D[[0, 3], 0] = 1.0, -1.0  # across, opposite
    D[[1, 4], 1] = 1.0, 1.0  # across, equal
    D[[0, 2], 2] = 1.0, 1.0  # within, equal
    D[[3, 5], 3] = -1.0, 1.0  # within, opposite
    D[:, 4] = context.ABOVE
    assert context.shared(D) == {
        "polysemantic": 4, "across": 2, "pairs_across": [1, 1], "pairs_within": [1, 1],
    }  # fmt: skip
    gains = np.array([0.9, 0.5, 0.0, 1.0, 0.81, -1.0])
    D = np.eye(6)
    assert context.learned(D, gains[:, None] * D) == {"learned": 3, "lost": 2}


def test_the_loss_is_the_mean_over_inputs_and_features():
    """c/4 of the sum, divided by the expected number of inputs in which a feature is on."""
    for setting in (Setting(), Setting(overlap=1.0), Setting(n=20, on=5)):
        training = setting.training
        weight = 0.25 * training.network.c / training.data.expected_on(setting.n)
        assert weight == pytest.approx(1.0 / (context.BATCH * setting.n))


@pytest.mark.parametrize("overlap", [0.0, 1.0])
def test_fresh_inputs_have_one_block_or_both(overlap):
    setting = Setting(n=10, on=2, overlap=overlap)
    X = context.inputs(setting, 50, np.random.default_rng(0))
    blocks = np.sort(X.reshape(50, 2, 5).sum(axis=2), axis=1)
    assert (blocks == [2.0 if overlap else 0.0, 2.0]).all()
    assert (X[:, :5].any(axis=1).sum() < 50) == (overlap == 0.0)


def test_a_setting_is_trained_and_counted():
    setting = Setting(n=6, on=2, overlap=0.5)
    runs = context.measure(setting.training, setting=setting, seeds=range(2), steps=5)
    assert [run["seed"] for run in runs] == [0, 1]
    runs = [{**run, "setting": context.SETTINGS[0].name} for run in runs]
    columns, rows = context.table(runs)
    assert len(rows) == 1
    assert len(rows[0]) == len(columns)


def test_what_the_ledger_says_of_contexts_is_what_was_measured():
    said = find("contexts").statement
    runs = gather(context.QUESTION, context.QUESTION.file, until=0.0)

    def shared(setting):
        some = pick(runs, setting=setting.name)
        assert [run["polysemantic"] for run in some] == [run["across"] for run in some]
        return interval([run["polysemantic"] for run in some])

    assert f"{shared(Setting())} neurons are shared, all by features of different" in said
    assert f"{shared(Setting(overlap=0.1))} if a tenth of the inputs" in said
    assert shared(Setting(overlap=1.0)) == "0.0 ± 0.0"
    told = gather(told_apart.QUESTIONS[0], told_apart.FILE, until=0.0)
    spare = [run for run in pick(told, family="contexts", m=30) if run.get("start") == "Gaussian"]
    assert all(told_apart.is_read(run) for run in spare)
    assert f"{interval([run['shared'] for run in spare])} are shared, none" in said
