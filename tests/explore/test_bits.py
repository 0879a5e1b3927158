"""A page's runs are those of the command line and of Python, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from flow import Trajectory, simulate
from flow.cli import edit
from flow.explore.compute import Abandoned, alone, counts, outcome
from flow.explore.links import from_link
from flow.explore.texts import command_words, python

COMMANDS = {
    "flow.simulate": lambda words: simulate.main([*words, "--quiet"]),
    "flow.edit": edit.main,
}
START = "?n=16&m=24&seed=3&lam=0.03"
FUTURES = {
    "nothing": "",
    "an end": "&t_end=7.3",
    "interference off": "&off=interference@4.7",
    "interference off and on": "&off=interference@4.7&on=interference@9.1",
    "another λ": "&lam=0.05@3.3",
    "another c": "&c=2@3.3&c_interference=0.5@3.3",
    "weight decay": "&mu=0.01@3.3&off=regularization@20",
    "regularization on late": "&off=regularization&on=regularization@2.5",
    "a flip": "&flip=3,4@2.2",
    "a weight set, and killed": "&set=3,5,0.4@2.2&set=3,4,0@2.2",
    "a copy": "&duplicate=9,0.01,1,opposed@6.5",
    "a copy, then more": "&duplicate=9,0.01,1@6.5&flip=0,24@8.5&off=interference@9.5",
    "after rest": "&flip=0,9@5000",
}


def by_commands(state, folder, monkeypatch) -> Trajectory:
    monkeypatch.chdir(folder)
    for module, *words in command_words(state):
        assert COMMANDS[module](words) == 0, words
    return Trajectory.load(words[-1])


@pytest.mark.parametrize("changes", FUTURES.values(), ids=FUTURES)
def test_a_future_has_the_bits_of_its_commands(changes, tmp_path, monkeypatch, capsys):
    state = from_link(START + changes)
    run, theirs = outcome(state).run, by_commands(state, tmp_path, monkeypatch)
    if len([edits for _, edits, _ in state.stages() if edits]) and len([*state.stages()]) > 1:
        # An edited W starts anew at t = 0: the way to the next change is as long to rounding.
        np.testing.assert_allclose(run.final, theirs.final, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(run.final == 0.0, theirs.final == 0.0)
    else:
        np.testing.assert_array_equal(run.final, theirs.final)


@pytest.mark.parametrize("changes", FUTURES.values(), ids=FUTURES)
def test_a_future_has_the_bits_of_its_python(changes):
    state = from_link(START + changes)
    scope: dict = {}
    exec(python(state), scope)
    np.testing.assert_array_equal(outcome(state).run.final, scope["run"].final)


def test_frames_hold_every_change_and_the_end():
    frames = outcome(from_link(START + FUTURES["a copy, then more"])).frames
    assert {0.0, 6.5, 8.5, 9.5} <= {*frames.times.tolist()}
    assert frames.weights.shape[2] == 25
    assert not frames.weights[frames.times < 6.5][:, :, 24].any()


def test_an_abandoned_run_ends_at_its_next_step():
    seen = []

    def watch(look):
        seen.append(look.steps)
        if look.steps == 3:
            raise Abandoned

    with pytest.raises(Abandoned):
        outcome(from_link(START), watch)
    assert seen == [1, 2, 3]


def test_more_seeds_are_the_runs_of_these_seeds():
    state = from_link(START)
    for seed, count in counts(state, 3):
        assert count == outcome(from_link(f"?n=16&m=24&seed={seed}&lam=0.03")).run.polysemantic


def test_alone_is_the_run_without_interference():
    ours = alone(from_link(START))
    theirs = outcome(from_link(START + "&off=interference")).run
    np.testing.assert_array_equal(ours.final, theirs.final)
    assert alone(from_link(START + "&off=regularization")) is None


def test_a_weight_that_is_zero_is_not_flipped_and_the_reason_is_said():
    with pytest.raises(ValueError, match="feature 3 on neuron 5, which is 0"):
        outcome(from_link(START + "&flip=3,5@2.2"))
