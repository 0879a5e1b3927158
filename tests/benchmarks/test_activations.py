"""Other activations: what is counted, and that every one of them runs."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("jax")
from benchmarks.findings import activations


@pytest.mark.parametrize("name", ["output sigmoid, bias", "hidden top-1", "layer norm"])
def test_an_activation_is_trained_and_counted(name, monkeypatch):
    monkeypatch.setattr(activations, "N", 4)
    monkeypatch.setattr(activations, "M", 6)
    training = activations.case(name, 0.01).training
    runs = activations.measure(training, name=name, lam=0.01, seeds=range(2), steps=20)
    assert {run["status"] for run in runs} == {"REACHED_T_END"}
    columns, rows = activations.table(runs)
    assert len(rows) == 1
    assert len(rows[0]) == len(columns)


def test_outputs_are_those_of_the_formula():
    W = np.random.default_rng(0).normal(size=(4, 6))
    bias = np.array([np.zeros(4), np.arange(4.0)])
    network = replace(activations.NETWORK, output="tanh", output_bias=True)
    np.testing.assert_allclose(
        activations.outputs(network, W, bias), np.tanh(W @ W.T + np.arange(4.0)), rtol=1e-12
    )
    network = replace(activations.NETWORK, hidden="top-k", top=1)
    kept = np.where(np.abs(W) == np.abs(W).max(axis=1, keepdims=True), W, 0.0)
    np.testing.assert_allclose(
        activations.outputs(network, W, None), np.maximum(kept @ W.T, 0.0), rtol=1e-12
    )
