"""Which runs a config stands for, and which configs are refused."""

import itertools
import math
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow import FeatureBenefit, Interference, Regularization
from flow.cli.flags import InputError
from flow.forces import Force
from flow.sweep import Run
from flow.sweep.config import read_config
from flow.sweep.forces import build_forces
from tests.sweep import NOISY


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True),
    st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=3, unique=True),
    st.integers(1, 4),
)
def test_a_grid_stands_for_every_combination_once_seed_by_seed(ns, ratios, products, seeds):
    runs, _ = read_config(
        {"n": ns, "m_over_n": ratios, "lam_sqrt_m_over_c": products, "seeds": seeds, "c": 4}
    )
    assert [r.seed for r in runs] == sorted(r.seed for r in runs)
    assert len({r.hash() for r in runs}) == len(runs)
    # The ten digits that are kept may make one λ of two that differ by less.
    assert len(runs) == len({(r.n, r.m, r.lam, r.seed) for r in runs})
    for n, ratio, product, seed in itertools.product(ns, ratios, products, range(seeds)):
        m = n * ratio
        assert any(
            (r.n, r.m, r.seed, r.c) == (n, m, seed, 4.0)
            and math.isclose(r.lam * math.sqrt(m) / 4.0, product, rel_tol=1e-9)
            for r in runs
        )


def test_grids_add_up_and_share_what_stands_above_them():
    table = {
        "lam": 0.1,
        "m": 8,
        "grid": [{"n": 4}, {"n": 8, "m_over_n": 2, "seeds": [5]}, {"n": 4}],
    }
    assert read_config(table)[0] == [Run(n=4, m=8, lam=0.1), Run(n=8, m=16, lam=0.1, seed=5)]


def test_a_log_range_has_its_ends_and_equal_ratios():
    runs, _ = read_config({"n": 2, "m": 2, "lam": {"from": 0.01, "to": 1.0, "log_steps": 7}})
    lams = np.array([r.lam for r in runs])
    assert lams[0] == 0.01
    assert lams[-1] == 1.0
    np.testing.assert_allclose(lams[1:] / lams[:-1], 100 ** (1 / 6), rtol=1e-8)


BASE = Run(n=4, m=8, lam=1, scale=1)
NOISY_BASE = replace(
    BASE, forces="L2Regularization + NoisyInterference", sigma=0.1, distribution="bipolar", mu=0.5
)
CHANGES = {
    "n": 5, "m": 9, "lam": 0.5, "c": 4.0, "c_interference": 0.5, "leak": 0.3, "scale": 0.9,
    "seed": 1,
    "backend": "numba", "forces": "no-interference", "rtol": 1e-3, "t_end": 5.0,
    "dtype": "float32", "max_steps": 10, "census": False,
}  # fmt: skip
TOGETHER_BASE = Run(n=4, m=8, lam=1, forces="CoOccurrence + Regularization", p=0.1)
TOGETHER_CHANGES = {"p": 0.2, "most_active": 2}
NOISY_CHANGES = {"sigma": 0.2, "distribution": "normal", "mu": 0.4, "accuracy": 1e-3}


def test_the_hash_of_a_run_is_the_same_in_every_version():
    """It names rows in files that are kept."""
    assert BASE.hash() == "a15af6bbc7590b7f62275c0db90068c4"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BASE, Run(n=4, m=8, lam=1.0, scale=1.0)),
        (NOISY_BASE, replace(NOISY_BASE, accuracy=1e-4)),
        (NOISY_BASE, replace(NOISY_BASE, forces="NoisyInterference+L2Regularization")),
    ],
    ids=["whole numbers and floats", "a default that is written out", "the order of the forces"],
)
def test_runs_that_are_the_same_have_the_same_hash(one, other):
    assert one.hash() == other.hash()


def test_runs_that_differ_in_one_parameter_have_different_hashes():
    changes = set(CHANGES) | set(NOISY_CHANGES) | set(TOGETHER_CHANGES)
    assert changes == {f.name for f in fields(Run)}
    runs = [BASE, *(replace(BASE, **{name: value}) for name, value in CHANGES.items())]
    runs += [NOISY_BASE, TOGETHER_BASE]
    runs += [replace(TOGETHER_BASE, **{name: value}) for name, value in TOGETHER_CHANGES.items()]
    runs += [replace(NOISY_BASE, **{name: value}) for name, value in NOISY_CHANGES.items()]
    assert len({r.hash() for r in runs}) == len(runs)


def test_without_regularization_lam_makes_no_other_run():
    grid = {"n": 4, "m": 4, "lam": [0.1, 0.2], "forces": ["all", "no-regularization"], "t_end": 1.0}
    assert [r.lam for r in read_config(grid)[0]] == [0.1, 0.0, 0.2]


def test_parameters_of_some_forces_are_axes_for_those_alone():
    grid = {
        "n": 4, "m": 4, "lam": 0.1, "forces": ["all", NOISY, "no-interference"],
        "sigma": [0.1, 0.2], "distribution": "bipolar", "c_interference": [1.0, 0.5],
    }  # fmt: skip
    found = {(r.forces, r.lam, r.sigma, r.c_interference) for r in read_config(grid)[0]}
    noisy = {(NOISY, 0.0, s, c) for s in (0.1, 0.2) for c in (None, 0.5)}
    plain = {
        ("all", 0.1, None, None),
        ("all", 0.1, None, 0.5),
        ("no-interference", 0.1, None, None),
    }
    assert found == noisy | plain
    with pytest.raises(InputError, match="sigma: expected forces that have it, got all, only-"):
        read_config({**grid, "forces": ["all", "only-interference"]})


def test_without_regularization_no_lam_is_asked_for():
    noise = {"forces": NOISY, "sigma": 0.1, "distribution": "normal"}
    assert read_config({"n": 4, "m": 4, **noise})[0][0].lam == 0.0


@pytest.mark.parametrize("name", Force.registry)
def test_every_force_can_be_swept_with_every_number_it_has(name):
    numbers = {
        "p": 0.1,
        "most_active": 2,
        "strength": 2.0,
        "lam": 0.3,
        "mu": 0.4,
        "sigma": 0.1,
        "accuracy": 1e-3,
        "leak": 0.5,
    }
    kind = Force.registry[name]
    wanted = kind(**{f.name: numbers.get(f.name, "bipolar") for f in fields(kind)})
    own = {
        f.name: getattr(wanted, f.name) for f in fields(kind) if f.name not in ("strength", "lam")
    }
    swept = Run(n=2, m=2, lam=0.3, c=2.0, forces=name, **own)
    assert build_forces(swept.forces, asdict(swept)) == [wanted]


def test_strengths_of_benefit_and_interference_may_differ():
    swept = Run(n=2, m=2, lam=0.3, c=2.0, c_interference=0.5)
    assert build_forces("all", asdict(swept)) == [
        FeatureBenefit(2.0), Interference(0.5), Regularization(0.3)
    ]  # fmt: skip


BAD = [
    ({}, "expected n, got neither"),
    ({"n": 4, "m": 4}, "expected lam or lam_sqrt_m_over_c"),
    ({"n": [], "m": 4, "lam": 0.1}, "n: expected at least one value"),
    ({"n": 4, "m": 4, "lam": 0.1, "seeds": 0}, "seeds: expected a number of seeds >= 1"),
    ({"n": 4, "m": 4, "lam": 0.1, "seeds": [-1]}, "seed: expected a whole number >= 0"),
    ({"n": 4, "m": 4, "lam": 0.1, "lamb": 3}, "did you mean lam?"),
    ({"n": 4.0, "m": 4, "lam": 0.1}, "n: expected a whole number >= 1, got 4.0"),
    ({"n": True, "m": 4, "lam": 0.1}, "n: expected a whole number >= 1, got True"),
    ({"n": 4, "m": 4, "lam": "0.1"}, "lam: expected a finite number >= 0, got '0.1'"),
    ({"n": 4, "m": 4, "lam": -1}, "lam: expected a finite number >= 0, got -1"),
    ({"n": 4, "m": 4, "lam_sqrt_m_over_c": -1}, "lam_sqrt_m_over_c: expected a finite"),
    ({"n": 4, "m": 4, "m_over_n": 1, "lam": 0.1}, "expected m or m_over_n, got both"),
    ({"n": 5, "m_over_n": 0.5, "lam": 0.1}, "whole number of neurons"),
    ({"n": 5, "m_over_n": "2", "lam": 0.1}, "m_over_n: expected a number > 0"),
    ({"n": 4, "m": 4, "lam": {"from": 1, "to": 2}}, "got the keys from, to"),
    ({"n": 4, "m": 4, "lam": {"from": 0, "to": 2, "log_steps": 3}}, "with A, B > 0"),
    ({"n": 4, "m": 4, "lam": 0.1, "forces": "no-interferense"}, "did you mean no-interference?"),
    ({"n": 4, "m": 4, "lam": 0.1, "backend": "exact"}, "numba or auto for forces = 'all'"),
    ({"n": 4, "m": 4, "lam": 0.1, "forces": 3}, "forces: expected a name, got 3"),
    ({"n": 4, "m": 4, "lam": 0.1, "forces": "Noise"}, "forces: expected one of all, no-interf"),
    ({"n": 4, "m": 4, "lam": 0.1, "forces": "Interference+Interference"}, "each force once"),
    ({"n": 4, "m": 4, "lam": 0.1, "sigma": 0.1}, "sigma: expected forces that have it, got all"),
    ({"n": 4, "m": 4, "forces": NOISY, "sigma": 0.1}, "distribution: expected a value for forces"),
    ({"n": 4, "m": 4, "forces": NOISY, "sigma": -1, "distribution": "normal"}, "sigma: expected a"),
    ({"n": 4, "m": 4, "forces": NOISY, "sigma": 1, "distribution": 5}, "distribution: expected a"),
    ({"n": 4, "m": 4, "forces": NOISY, "sigma": 1, "distribution": "x"}, "one of bipolar"),
    (
        {
            "n": 4,
            "m": 4,
            "forces": "FeatureBenefit+NoisyFeatureBenefit",
            "sigma": 1,
            "distribution": "normal",
        },
        "NoisyFeatureBenefit replaces FeatureBenefit",
    ),
    ({"n": 4, "m": 4, "lam": 0.1, "rtol": 1.5}, "rtol: expected a number > 0 and < 1"),
    ({"n": 4, "m": 4, "lam": 0.1, "census": 1}, "census: expected true or false"),
    ({"n": 4, "m": 4, "lam": 0.1, "grid": 3}, "expected tables [[grid]]"),
    ({"grid": []}, "expected at least one run"),
    ({"n": [4] * 1001, "m": [4] * 1001, "lam": 0.1}, "expected at most 1,000,000 runs"),
]


@pytest.mark.parametrize(("grid", "complaint"), BAD)
def test_a_grid_that_cannot_be_is_refused_in_one_line(grid, complaint):
    with pytest.raises(InputError) as caught:
        read_config(grid)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text("n = 4\nm = 6\nlam = 0.1\nseeds = 1\n", encoding="utf-8-sig")
    runs, _ = read_config(path)
    assert runs == [Run(n=4, m=6, lam=0.1, seed=0)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": [2**63]}, "seed: expected at most 9223372036854775807"),
        ({"seeds": [10**5000]}, "seed: expected at most"),
        ({"seeds": 2**70}, r"seeds: expected at most 1,000,000 seeds.*seeds = \[...\]"),
        ({"seeds": -(10**5000)}, "seeds: expected a number of seeds >= 1"),
        ({"n": 2**64}, "n: expected at most"),
        ({"m": 2**63}, "m: expected at most"),
        ({"max_steps": 10**30}, "max_steps: expected at most"),
        ({"lam": 10**400}, "lam: expected a finite number >= 0, got a whole number of 1329 bits"),
        ({"lam": {"from": 10**400, "to": 10**401, "log_steps": 2}}, "that a float holds"),
        ({"lam": {"from": 1e-300, "to": 1e300, "log_steps": 3}}, "that a float holds"),
        ({"lam": {"from": 1e300, "to": 1e-300, "log_steps": 3}}, "that a float holds"),
        ({"lam": {"from": 0.1, "to": 1.0, "log_steps": 10**30}}, "N <= 1,000,000"),
        ({"n": 10**400, "m": None, "m_over_n": 1.0}, "m_over_n: expected a number > 0"),
        ({"m": None, "m_over_n": 1e300}, "m_over_n: expected a number > 0"),
        ({"m": 10**700, "lam": None, "lam_sqrt_m_over_c": 1.0}, "m: expected at most"),
    ],
)
def test_numbers_that_no_column_and_no_float_holds_are_one_line(values, message):
    grid = {"n": 4, "m": 4, "lam": 0.1, **values}
    with pytest.raises(InputError, match=message) as refused:
        read_config({key: value for key, value in grid.items() if value is not None})
    assert "\n" not in str(refused.value)
