"""Flags take their names from the fields that they fill."""

import pytest

from flow.cli.edit import EDITS
from flow.cli.flags import InputError, flag_names, parse_flags
from flow.cli.options import CompareOptions, SimulateOptions
from flow.sweep.cli import SweepOptions
from flow.training.cli import TrainOptions

COMMANDS = [SimulateOptions, CompareOptions, TrainOptions, SweepOptions, *EDITS.values()]
VALUED = [
    (kind, name)
    for kind in COMMANDS
    for name, is_switch in flag_names(kind).items()
    if not is_switch
]


@pytest.mark.parametrize(("kind", "name"), VALUED, ids=[f"{k.__name__}-{n}" for k, n in VALUED])
def test_a_complaint_names_the_flag_that_it_is_about(kind, name):
    with pytest.raises(InputError, match=rf"^--{name}: expected "):
        parse_flags(kind, [f"--{name}"], kind(), "", "")
