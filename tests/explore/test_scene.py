"""What is drawn and said of a run is what happened in it."""

from __future__ import annotations

import numpy as np
import pytest
from bokeh.document import Document

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.analysis.pairs import collisions
from flow.explore import marks, words
from flow.explore.compute import outcome
from flow.explore.controls import KINDS, PRESETS, TOUR, change_of
from flow.explore.curves import plane, steps
from flow.explore.frames import MET, encode
from flow.explore.links import from_link, link
from flow.explore.marks import rates, spans
from flow.explore.page import make_page
from flow.explore.panels import EMPTY, palette
from flow.explore.scene import (
    LANES,
    LANES_OF_A_KIND,
    SKETCHED,
    drawn_span,
    exact,
    meeting_columns,
    moment_columns,
    of_outcome,
    of_run,
    parts,
    scene,
    state_of,
)
from flow.explore.state import State, Strength
from flow.forces import NoisyFeatureBenefit, NoisyInterference
from theory.counting import paper_count

SMALL = "?n=16&m=24&seed=3&lam=0.03"


@pytest.fixture(scope="module")
def made():
    return outcome(from_link(SMALL))


def test_every_death_and_revival_is_in_a_bar(made):
    found = rates(made.parts, 0.5, made.frames.times[-1])
    assert found.deaths.sum() == made.run.events.extinctions.time.size
    assert found.revivals.sum() == made.run.events.revivals.time.size


def test_the_last_deaths_and_revivals_are_marked_one_by_one(made):
    died, came = made.run.events.extinctions, made.run.events.revivals
    found = marks.moments(made.parts, most=30)
    assert found.time.size == 30
    assert (np.diff(found.time) >= 0.0).all()
    every = np.sort(np.concatenate([died.time, came.time]))
    np.testing.assert_array_equal(found.time, every[-30:])
    logged = {*zip(died.time, died.feature, died.neuron, strict=True)}
    for t, feature, neuron, gone in zip(*found, strict=True):
        assert ((t, feature, neuron) in logged) == gone
    columns = moment_columns(found, 0.01)
    assert {*np.array(columns["what"])[found.died]} == {"leaves"}
    assert {*columns["y"][found.died]} == {LANES["deaths"]}


def test_a_collision_is_marked_at_its_beginning_and_at_its_end_if_it_has_one(made):
    met = marks.meetings(made.frames)
    first, last = drawn_span(made.frames.times)
    columns = meeting_columns(met, first, last)
    assert {*columns["kind"]} == {"benign", "malign"}
    rows = zip(met, *(columns[k] for k in ("began", "until", "parted", "y", "kind")), strict=True)
    for meeting, began, until, parted, y, kind in rows:
        assert first <= began <= until <= last
        assert np.isfinite(parted) == np.isfinite(meeting.ended)
        assert until == (parted if np.isfinite(parted) else last)
        assert LANES[kind] <= y < LANES[kind] + LANES_OF_A_KIND


def test_a_scene_has_the_columns_that_the_panels_draw(made):
    for name, columns in of_outcome(made).columns.items():
        assert set(columns) >= set(EMPTY[name]), name
        assert len({len(column) for column in columns.values()}) == 1, name


def test_curves_are_those_of_the_run(made):
    columns = of_outcome(made).columns
    np.testing.assert_array_equal(columns["steps"]["l1"], made.run.observables.l1.mean(axis=1))
    assert columns["counting"]["paper"] == [float(paper_count(16, 24))]
    np.testing.assert_array_equal(columns["frames"]["W"][-1], encode(made.run.final))
    assert columns["frames"]["count"][-1] == made.run.polysemantic


def test_a_scene_comes_in_parts_of_which_the_first_has_w_and_the_counts():
    state = from_link(SMALL)
    first, rest, last = parts(state)
    assert not first.whole
    assert {name: tuple(columns) for name, columns in first.columns.items()} == SKETCHED
    assert "polysemantic" in first.words["status"]
    whole, joined = scene(state), first.joined(rest)
    np.testing.assert_equal(joined.columns, whole.columns)
    assert (joined.words, joined.about) == (whole.words, whole.about)
    np.testing.assert_equal(last.columns["exact"], exact(state, whole.about["first"]))


def test_a_scene_is_two_messages_to_the_browser(made):
    page, document, changes = make_page(), Document(), []
    page.place(document, live=True)
    document.on_change(changes.append)
    page.sketch(of_outcome(made))
    assert [change.model.name for change in changes] == ["sketched"]
    page.follow(of_outcome(made), None, {"link": "?"})
    assert [change.model.name for change in changes] == ["sketched", "followed"]


def test_orders_are_permutations_and_the_winner_order_is_a_staircase(made):
    order = of_outcome(made).columns["order"]
    for rows, columns in zip(order["features"], order["neurons"], strict=True):
        assert sorted(rows) == list(range(16))
        assert sorted(columns) == list(range(24))
    rows, columns = order["features"][0], order["alive"][0]
    place = np.argmax(np.abs(made.run.final[np.ix_(rows, columns)]), axis=1)
    assert (np.diff(place) >= 0).all()


def test_a_malign_pair_is_met_and_parts_and_a_benign_one_stays():
    W0 = np.array([[0.6, 0.0], [0.55, 0.5], [-0.7, 0.0]])
    forces = [FeatureBenefit(), Interference(), Regularization(0.02)]
    run = integrate(forces, W0, film=True)
    met = {(m.first, m.second): m for m in marks.meetings(_frames(run))}
    assert not met[0, 1].benign
    assert np.isfinite(met[0, 1].ended)
    assert met[0, 2].benign
    assert np.isinf(met[0, 2].ended)


def _frames(run):
    from flow.explore.frames import FrameRecorder

    recorder = FrameRecorder.of_size(*run.final.shape)
    for t, W in zip(run.film.times.tolist(), run.film.weights, strict=True):
        recorder.add(t, W)
    return recorder.frames()


def test_a_plateau_and_its_collapse_are_found_and_a_power_law_has_none():
    t = np.geomspace(0.1, 1e3, 300)
    power = 64.0 / (1.0 + t) ** 1.5
    assert spans(t, np.maximum(power, 1.0)) == []
    flat = np.where(t < 30.0, np.maximum(power, 20.0), 20.0 * (t / 30.0) ** -4.0)
    plateau, collapse = spans(t, np.maximum(flat, 1.0))
    assert plateau.name == "plateau"
    assert 1.0 < plateau.began < 3.0
    assert plateau.ended == pytest.approx(30.0, rel=0.1)
    assert collapse.name == "collapse"
    assert collapse.began == pytest.approx(30.0, rel=0.1)


@pytest.mark.parametrize(
    ("W", "pushing", "said"),
    [
        ([[0.9, 0.0], [0.8, 0.0]], True, "on neuron 0 with the same sign: malign, one must leave"),
        ([[0.9, 0.0], [0.8, 0.0]], False, "interference is off"),
        ([[0.9, 0.0], [-0.8, 0.0]], True, "opposite signs: benign"),
        ([[0.9, 0.0], [0.0, 0.8]], True, "No two features share a neuron"),
    ],
)
def test_a_line_says_what_two_features_on_a_neuron_will_do(W, pushing, said):
    met = collisions(np.array(W), threshold=MET)
    assert said in words.graph_line(np.array(W), met, pushing=pushing)


def test_the_preset_of_the_plateau_has_its_plateau_and_its_collapse():
    made = outcome(from_link(PRESETS["the plateau"]))
    plateau, collapse = spans(*(steps(made.parts, 0.01)[name] for name in ("t", "survivors")))
    assert (plateau.name, collapse.name) == ("plateau", "collapse")
    assert plateau.ended > 3.0 * plateau.began
    assert collapse.began >= plateau.ended


def test_the_phase_plane_is_that_of_the_closed_form_and_empty_where_there_is_none():
    rest = plane(State())["rest"]
    points = {*zip(np.sign(rest["u"]), np.sign(rest["v"]), rest["kind"], strict=True)}
    ends = {(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1), (1, -1), (-1, 1)}
    assert {(u, v) for u, v, kind in points if kind == "attractor"} == ends
    for other in ("?noise=bipolar", "?mu=0.01", "?lam=0.5", "?off=feature-benefit"):
        assert plane(from_link(other))["rest"]["u"] == [], other


def test_a_saddle_a_limit_and_a_critical_strength_are_said():
    assert "saddle" in scene(from_link("?flip=47,16@565.06")).words["status"]
    assert "Reached t_end" in scene(from_link(SMALL + "&t_end=2")).words["status"]
    assert "no weight survives" in scene(from_link("?n=4&m=8&lam=0.5")).words["status"]


def test_the_scene_of_a_finished_run_is_that_of_its_state():
    forces = [FeatureBenefit(), Interference(), Regularization(0.03)]
    about = {"seed": 3, "scale": 1.0}
    run = integrate(forces, gaussian_init(16, 24, seed=3), film=True, metadata=about)
    theirs, ours = of_run(run), scene(from_link(SMALL))
    assert theirs.words["status"] == ours.words["status"]
    np.testing.assert_array_equal(
        theirs.columns["frames"]["W"][-1], ours.columns["frames"]["W"][-1]
    )


def test_the_scene_of_a_run_under_noise_knows_its_noise():
    forces = [NoisyFeatureBenefit(0.15, "bipolar", 4.0), NoisyInterference(0.15, "bipolar", 4.0)]
    run = integrate(forces, gaussian_init(4, 6, seed=0), t_end=1.0, film=True)
    state = state_of(run)
    assert state.forces() == run.forces
    assert of_run(run).columns["rest"]["u"] == []


def test_the_stops_of_the_tour_about_collisions_show_them():
    malign, benign = (marks.meetings(outcome(from_link(TOUR[k][1])).frames) for k in (2, 3))
    assert [(met.benign, np.isfinite(met.ended)) for met in malign] == [(False, True)]
    assert [(met.benign, np.isfinite(met.ended)) for met in benign] == [(True, False)]


def test_presets_and_stops_of_the_tour_are_states():
    assert len(TOUR) == 8
    for text in [*PRESETS.values(), *(text for _, text in TOUR)]:
        assert isinstance(from_link(text), State)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_change_can_be_made_and_linked(kind):
    state = State().changed(5.0, change_of(kind, 0.02, 3, 4, State()))
    assert state.parent == State()
    assert from_link(link(state)) == state


def test_a_change_that_lacks_its_number_or_its_weight_is_refused_in_a_sentence():
    for kind, needs in KINDS.items():
        if needs:
            with pytest.raises(ValueError, match="expected a number for"):
                change_of(kind, None, 3, 4, State())
    with pytest.raises(ValueError, match="expected a feature, got none; click"):
        change_of("flip the weight", None, None, 4, State())
    with pytest.raises(ValueError, match="expected a neuron, got none; click"):
        change_of("duplicate the neuron", 0.01, 3, None, State())
    assert change_of("c of interference =", 0.5, None, None, State()) == Strength(
        "c_interference", 0.5
    )


def test_a_zero_has_a_colour_of_its_own():
    colours = palette()
    assert colours.count(colours[128]) == 1
    assert len(set(colours)) > 200


def test_two_pages_share_no_model():
    first, second = Document(), Document()
    make_page().place(first, live=True)
    make_page().place(second, live=True)
    assert not {m.id for m in first.models} & {m.id for m in second.models}
