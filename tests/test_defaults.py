"""One rule for noise laws, wherever they are named."""

import pytest

from flow.cli.flags import InputError, parse_flags
from flow.cli.options import NoiseFlags
from flow.defaults import NOISE_LAWS, noise_law, split_noise_law
from flow.forces.noise import law
from flow.sweep import Run
from flow.training.setup import Noise

EVERYWHERE = {
    "force": lambda degrees: law(f"student-t:{degrees}"),
    "training": lambda degrees: Noise(distribution="student-t", degrees=degrees),
    "flag": lambda degrees: parse_flags(
        NoiseFlags, ["--noise", f"student-t:{degrees}"], NoiseFlags(), "", ""
    ),
    "sweep": lambda degrees: Run(
        n=2,
        m=2,
        lam=0.1,
        forces="NoisyInterference",
        sigma=0.1,
        distribution=f"student-t:{degrees}",
    ),
}
everywhere = pytest.mark.parametrize("accept", EVERYWHERE.values(), ids=EVERYWHERE)


@everywhere
@pytest.mark.parametrize("degrees", [3, 5, 99])
def test_degrees_of_freedom_that_one_accepts_all_accept(accept, degrees):
    accept(degrees)


@everywhere
@pytest.mark.parametrize("degrees", [1, 2, 4, 101])
def test_degrees_of_freedom_that_one_refuses_all_refuse(accept, degrees):
    with pytest.raises((ValueError, InputError), match="odd whole number from 3 to 99"):
        accept(degrees)


@pytest.mark.parametrize("name", NOISE_LAWS)
def test_the_one_word_for_a_law_says_the_law_and_its_degrees(name):
    said = split_noise_law(noise_law(name, 7))
    assert said == (name, 7 if name == "student-t" else None)
    law(noise_law(name, 7))
