"""A state and every way to write it: they say the same, and wrong ones are told apart."""

from __future__ import annotations

import pytest
from hypothesis import given

from flow.explore.links import from_link, link
from flow.explore.state import Assign, Duplicate, Flip, State, Strength, Switch, Timed
from flow.explore.texts import from_toml, toml
from tests.strategies import states

TOLD = "?n=64&seed=0&lam=0.01&off=interference@20&flip=47,16@565"


@given(states())
def test_a_link_read_again_is_the_state(state):
    assert from_link(link(state)) == state
    assert from_link(f"http://127.0.0.1:5006/token/{link(state)}") == state


@given(states())
def test_toml_read_again_is_the_state(state):
    assert from_toml(toml(state)) == state


def test_a_link_says_what_is_changed_and_when():
    assert from_link(TOLD) == State(
        changes=(Timed(20.0, Switch("interference", False)), Timed(565.0, Flip(47, 16)))
    )
    assert from_link("?lam=0.02@50&set=1,2,-0.3@60&duplicate=3,0.1,4,opposed@70").changes == (
        Timed(50.0, Strength("lam", 0.02)),
        Timed(60.0, Assign(1, 2, -0.3)),
        Timed(70.0, Duplicate(3, 0.1, 4, True)),
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("?n=0", "n: expected a whole number >= 1, got 0"),
        ("?n=1024&m=1024", "256 × 1024"),
        ("?lam=-1", "lam: expected a finite number >= 0, got -1"),
        ("?lam=nan", "lam: expected a finite number"),
        ("?lam=big", "lam: expected a number, got 'big'"),
        ("?lamb=1", "did you mean lam"),
        ("?lam=1&lam=2", "expected lam once"),
        ("?off=interferense", "expected a force"),
        ("?flip=47@20", "expected a change such as flip=47,16@565, got '47'"),
        ("?flip=64,0@20", "expected feature 0 to 63, got 64"),
        ("?flip=0,128@20", "expected neuron 0 to 127, got 128"),
        ("?duplicate=1,0.1,2,same@3", "expected 'opposed'"),
        ("?off=interference@never", "the time of a change: expected a number"),
        ("?t_end=5&off=interference@20", "expected changes up to t_end = 5, got 20"),
        ("?noise=gaussian", "expected a noise law"),
        ("?rtol=0", "rtol: expected"),
        ("?" + "flip=0,0@1&" * 400, "characters"),
        ("?" + "&".join(["flip=0,0@1"] * 33), "at most 32 changes"),
    ],
)
def test_a_wrong_link_says_what_was_expected(wrong, said):
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        from_link(wrong)


def test_a_copied_neuron_can_be_edited_afterwards_only():
    assert from_link("?duplicate=1,0.1,0@3&flip=0,128@4").changes[1].change.neuron == 128
    with pytest.raises(ValueError, match="expected neuron 0 to 127"):
        from_link("?flip=0,128@3&duplicate=1,0.1,0@3")


@given(states())
def test_futures_form_a_tree(state):
    child = state.changed(2e4, Switch("interference", False)) if state.t_end is None else state
    if child is not state:
        assert child.parent == state
        assert child.until(1e4) == state.until(1e4)
    assert (state.parent is None) == (not state.changes)


def test_the_forces_after_a_change_are_those_of_the_state_with_it():
    state = from_link("?lam=0.02&off=interference@20&lam=0.05@20&on=interference@30&c=2@40")
    last = state.at_end()
    assert last == State(lam=0.05, c=2.0)
    assert [t for t, _, _ in state.stages()] == [20.0, 30.0, 40.0]
