"""Two rows as λ → 0: the same winners as the flow, and none lost without the other row."""

from __future__ import annotations

import json
import math

import numpy as np

from benchmarks.findings import two_rows
from flow import FeatureBenefit, Interference, Regularization, integrate


def test_two_rows_on_the_constraint_end_as_in_the_flow_at_small_lambda():
    """60 starts with m = 32 at λ√m = 0.001, of which some lose: all but one winner at the most."""
    X, Z = two_rows.starts(32, 60, 0)
    first, second = two_rows.winners(X, Z)
    forces = [FeatureBenefit(), Interference(), Regularization(0.001 / math.sqrt(32))]
    ends = np.array([
        np.abs(integrate(forces, np.stack(pair)).final).argmax(axis=1)
        for pair in zip(X, Z, strict=True)
    ])  # fmt: skip
    assert np.sum(ends != np.stack([first, second], axis=1)) <= 1
    assert np.sum(first != np.abs(X).argmax(axis=1)) >= 2


def test_rows_that_share_no_neuron_keep_their_largest_weights():
    X, Z = two_rows.starts(20, 30, 0)
    X[:, 10:], Z[:, :10] = 0.0, 0.0
    first, second = two_rows.winners(X, Z)
    np.testing.assert_array_equal(first, np.abs(X).argmax(axis=1))
    np.testing.assert_array_equal(second, np.abs(Z).argmax(axis=1))


def test_of_two_that_share_a_neuron_with_one_sign_the_smaller_goes_and_with_two_both_stay():
    X, Z = np.array([[0.9, 0.2, 0.1]]), np.array([[0.5, 0.1, 0.4]])
    assert [int(end[0]) for end in two_rows.winners(X, Z)] == [0, 2]
    assert [int(end[0]) for end in two_rows.winners(X, -Z)] == [0, 0]


def test_what_the_page_says_of_two_rows_is_what_was_measured():
    rows = json.loads(two_rows.FILE.read_text())["rows"]
    assert two_rows.table(rows) in (two_rows.FILE.parent / "README.md").read_text()


def test_two_rows_alone_share_a_neuron_as_often_as_the_slot_law_says():
    """θ within 3.5 standard errors of 1 at m ≤ 16, where pairs are many: three chances, a false
    alarm in 700."""
    for row in json.loads(two_rows.FILE.read_text())["rows"]:
        if row["m"] <= 16:
            assert abs(row["theta"] - 1.0) < 3.5 * row["theta_error"]
