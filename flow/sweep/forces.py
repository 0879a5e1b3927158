"""The forces of a run of a sweep, by their names; their numbers are parameters of the run.

`forces` of a run is the name of a subset of the paper's three, such as "no-interference", or
names of :mod:`flow.forces` joined by "+", such as "NoisyFeatureBenefit + NoisyInterference". What
a force calls `strength` is c of the run, or c_interference where rows act on each other; all else
has the same name in both. A new force is known here at once. The compiler and NumPy are not
imported for the subsets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from flow.cli.flags import nearest
from flow.defaults import FORCE_SETS

if TYPE_CHECKING:
    from flow.forces import Force

MAY_STAY_NONE = ("c_interference", "leak", "most_active")
"""Parameters of forces that a run need not have: interference is as strong as the rest then,
outputs do not leak, any number of features is on."""
_NAME_OF_SET = {frozenset(names): name for name, names in FORCE_SETS.items()}


class ForceSet(NamedTuple):
    """A set of forces, described without the strengths that its forces will have."""

    text: str
    """The canonical way to write them."""
    names: tuple[str, ...]
    """Names of the forces, in the order of the registry."""
    own: Mapping[str, Any]
    """Parameters they have besides λ and c, with their defaults, None where there is none."""
    coupled: bool
    """Whether rows act on each other."""
    closed_form: bool
    """Whether the backend "exact" solves them."""

    @property
    def regularized(self) -> bool:
        """Whether λ means anything."""
        return "Regularization" in self.names


@cache
def force_set(forces: str) -> ForceSet:
    """The forces that `forces` names, in any order; ValueError for names that no force has."""
    if forces in FORCE_SETS:
        names = FORCE_SETS[forces]
        coupled = "Interference" in names
        of_interference = dict.fromkeys(("c_interference", "leak") if coupled else ())
        return ForceSet(forces, names, of_interference, coupled, not coupled)
    from flow.forces import Force

    given = [name.strip() for name in forces.split("+")]
    for name in given:
        if name not in Force.registry:
            known = (*FORCE_SETS, *Force.registry)
            raise ValueError(
                f"forces: expected one of {', '.join(FORCE_SETS)}, or some of "
                f"{', '.join(Force.registry)} joined by +, got {forces!r}{nearest(name, known)}"
            )
    if len(set(given)) < len(given):
        raise ValueError(f"forces: expected each force once, got {forces!r}")
    names = tuple(name for name in Force.registry if name in given)
    if frozenset(names) in _NAME_OF_SET:
        return force_set(_NAME_OF_SET[frozenset(names)])
    kinds = [Force.registry[name] for name in names]
    own = {
        field.name: None if field.default is MISSING else field.default
        for kind in kinds
        for field in fields(kind)
        if field.name not in ("strength", "lam")
    }
    coupled = any(_couples(kind) for kind in kinds)
    if any(_pushes(kind) for kind in kinds):
        own["c_interference"] = None
    if "leak" in own:
        own["leak"] = None
    closed_form = not coupled and not any(kind.has_general_drift for kind in kinds)
    return ForceSet(" + ".join(names), names, own, coupled, closed_form)


def build_forces(forces: str, parameters: Mapping[str, Any]) -> list[Force]:
    """The forces themselves; ValueError where their numbers, or they together, cannot be."""
    from flow.forces import Force, sum_forces

    found: list[Force] = []
    for kind in (Force.registry[name] for name in force_set(forces).names):
        given = {
            field.name: parameters[field.name if field.name != "strength" else "c"]
            for field in fields(kind)
        }
        if _pushes(kind) and parameters["c_interference"] is not None:
            given["strength"] = parameters["c_interference"]
        if given.get("leak", 0.0) is None:
            del given["leak"]
        found.append(Force.from_dict({"name": kind.__name__, **given}))
    sum_forces(found)
    return found


def _couples(kind: type[Force]) -> bool:
    from flow.forces import Interference

    return Interference in (kind, *kind.replaces)


def _pushes(kind: type[Force]) -> bool:
    """Whether a force is interference, without or with noise, and nothing else."""
    from flow.forces import Interference

    return kind is Interference or kind.replaces == (Interference,)
