"""The forces of a run: what its flags say, and the file that it goes on from where they do not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from flow.cli.flags import InputError
from flow.cli.options import NO_NOISE, CompareOptions, Given, SimulateOptions
from flow.defaults import DTYPES, PAPER_FORCES
from flow.forces import (
    CoOccurrence,
    FeatureBenefit,
    Force,
    Interference,
    L2Regularization,
    NoisyFeatureBenefit,
    NoisyInterference,
    Regularization,
)

Options = TypeVar("Options", SimulateOptions, CompareOptions)
Noisy = (NoisyFeatureBenefit, NoisyInterference)

BY_INPUTS = ("FeatureBenefit", "Interference")
"""The forces that the inputs make, which co-occurrence takes the place of."""
WEIGHT_DECAY = L2Regularization.__name__
PLACES: dict[type[Force], str] = {
    FeatureBenefit: "FeatureBenefit",
    NoisyFeatureBenefit: "FeatureBenefit",
    Interference: "Interference",
    NoisyInterference: "Interference",
    Regularization: "Regularization",
    L2Regularization: WEIGHT_DECAY,
}
"""Which force of the flags a force is, if any: with noise it is the same one."""
STRENGTHS = {
    "FeatureBenefit": ("feature benefit", "strength"),
    "Interference": ("interference", "strength"),
    "Regularization": ("lam", "lam"),
    WEIGHT_DECAY: ("mu", "mu"),
}
"""What each is called where it is said what changed, and the field with its strength."""


def saved_forces(parameters: Mapping[str, Any]) -> tuple[Force, ...]:
    """The forces of a saved run; InputError for one that this version does not have."""
    try:
        return tuple(Force.from_dict(force) for force in parameters["forces"])
    except (ValueError, TypeError) as error:
        raise InputError(
            f"--init: expected a run under known forces, got another: {error}"
        ) from error


def inherit(options: Options, given: Given, parameters: Mapping[str, Any]) -> Options:
    """The options with what a saved run had in the place of flags that were not given.

    parameters : of that run. Raises InputError for forces that this version does not have.
    """
    forces = saved_forces(parameters)
    strengths = {
        place: getattr(force, STRENGTHS[place][1])
        for force in reversed(forces)
        if (place := PLACES.get(type(force)))
    }
    found: dict[str, Any] = {}
    c = strengths.get("FeatureBenefit", strengths.get("Interference"))
    if c is not None:
        found["c"] = c
    if strengths.get("Interference", c) != c:
        found["c_interference"] = strengths["Interference"]
    found["leak"] = max((f.leak for f in forces if isinstance(f, Interference)), default=0.0)
    for name, place in (("lam", "Regularization"), ("mu", WEIGHT_DECAY)):
        if place in strengths:
            found[name] = strengths[place]
    if parameters.get("dtype") in DTYPES:
        found["dtype"] = parameters["dtype"]
    kept = {name: x for name, x in found.items() if name.replace("_", "-") not in given}
    problem, noise = options.problem, options.noise
    noisy = next((force for force in forces if isinstance(force, Noisy)), None)
    if noisy is not None:
        before: dict[str, Any] = {"noise": noisy.distribution, "sigma": noisy.sigma}
        noise = replace(noise, **{name: x for name, x in before.items() if name not in given})
    how, rtol = options.integration, parameters.get("rtol")
    if "rtol" not in given and isinstance(rtol, float):
        how = replace(how, rtol=rtol)
    return replace(options, problem=replace(problem, **kept), noise=noise, integration=how)


def acting(
    options: SimulateOptions | CompareOptions, given: Given, earlier: Sequence[Force] | None
) -> set[str]:
    """Names of the forces that act, weight decay among them, by their switches.

    Those of `earlier`, if any, act on unless they are switched off; a strength of its own switches
    a force on. Raises InputError for a strength or a noise that has no force to act on.
    """
    if "sigma" in given and options.noise.noise == "none":
        raise InputError(NO_NOISE)
    before = set(PAPER_FORCES)
    if earlier is not None:
        before = {PLACES[type(force)] for force in earlier if type(force) in PLACES}
    names = before & {WEIGHT_DECAY}
    if "mu" in given or earlier is None:
        names = {WEIGHT_DECAY} if options.problem.mu > 0.0 else set()
    own = {"Regularization": "lam", "Interference": "c-interference"}
    switches = options.forces if isinstance(options, SimulateOptions) else None
    for name, switch in zip(
        PAPER_FORCES, ("feature_benefit", "interference", "regularization"), strict=True
    ):
        flag = switch.replace("_", "-")
        if switches is not None and flag in given:
            on = getattr(switches, switch)
        else:
            on = name in before or own.get(name, "") in given
        if on:
            names.add(name)
    silent = "feature-benefit" not in given and "interference" not in given
    for flag in ("c", "noise"):
        if flag in given and silent and names.isdisjoint(("FeatureBenefit", "Interference")):
            raise InputError(
                f"--{flag}: expected feature benefit or interference for it, got a start without "
                f"them; add --feature-benefit or --interference"
            )
    return names


def forces_of(
    options: SimulateOptions | CompareOptions,
    given: Given,
    names: Collection[str],
    earlier: Sequence[Force] | None,
) -> list[Force]:
    """The forces that act, of those `names`, with the strengths of the flags.

    Of `earlier`, forces that are in `names` keep their place and what no flag speaks of; forces
    that no flag speaks of stay as they are.
    """
    problem, noise = options.problem, options.noise
    push = problem.c if problem.c_interference is None else problem.c_interference
    if problem.leak and noise.noise != "none":
        raise InputError(
            f"--leak: expected no noise beside it, got --noise {noise.noise}; leave one of them out"
        )
    if "leak" in given and "Interference" not in names:
        raise InputError("--leak: expected interference for it, got none; add --interference")
    wanted: dict[str, Force] = {
        "FeatureBenefit": FeatureBenefit(problem.c),
        "Interference": Interference(push, problem.leak),
        "Regularization": Regularization(problem.lam),
        WEIGHT_DECAY: L2Regularization(problem.mu),
    }
    if noise.noise != "none":
        law = (noise.sigma, noise.noise)
        wanted["FeatureBenefit"] = NoisyFeatureBenefit(*law, problem.c)
        wanted["Interference"] = NoisyInterference(*law, push)
    wanted = {place: force for place, force in wanted.items() if place in names}
    together = _together(options, given, names)
    if together:
        wanted = {place: force for place, force in wanted.items() if place not in BY_INPUTS}
        earlier = [f for f in earlier or () if not isinstance(f, CoOccurrence)] if earlier else None
    if earlier is None:
        return [*together, *wanted.values()]
    kept = []
    for force in earlier:
        place = PLACES.get(type(force))
        if place is None:
            kept.append(force)
        elif place in wanted:
            kept.append(_settled(force, wanted.pop(place), given))
    order = list(STRENGTHS)
    for place, force in wanted.items():
        before = order[: order.index(place)]
        last = max((k for k, f in enumerate(kept) if PLACES.get(type(f)) in before), default=-1)
        kept.insert(last + 1, force)
    return [*together, *kept]


def _together(
    options: SimulateOptions | CompareOptions, given: Given, names: Collection[str]
) -> list[Force]:
    """Co-occurrence, where flags ask for it; InputError beside what it does not go with."""
    problem = options.problem
    if problem.co_occurrence is None:
        if problem.most_active is not None:
            raise InputError("--most-active: expected --co-occurrence beside it, got none; add it")
        return []
    beside = [f"--no-{force}" for force, name in
              (("feature-benefit", "FeatureBenefit"), ("interference", "Interference"))
              if name not in names]  # fmt: skip
    beside += [f"--{flag}" for flag in ("noise", "leak", "c-interference") if flag in given]
    if beside:
        raise InputError(
            f"--co-occurrence: expected feature benefit and interference without more, as it takes "
            f"their place, got {' '.join(beside)}; leave that out"
        )
    try:
        force = CoOccurrence(problem.co_occurrence, problem.c, problem.most_active)
        force.check_size(problem.n)
    except ValueError as error:
        raise InputError(f"--co-occurrence: {error}") from error
    return [force]


def _settled(force: Force, wanted: Force, given: Given) -> Force:
    """A force of a file with what flags say of it."""
    if "noise" in given or "sigma" in given:
        if isinstance(force, Noisy) and type(wanted) is type(force):
            return replace(wanted, accuracy=force.accuracy)
        return wanted
    _, strength = STRENGTHS[PLACES[type(force)]]
    flags = {strength: getattr(wanted, strength)}
    if isinstance(force, Interference) and isinstance(wanted, Interference):
        flags["leak"] = wanted.leak
    return replace(force, **flags)


def described(forces: Sequence[Force]) -> dict[str, str]:
    """The strength of every force of the flags, "off" where it is, and the noise, in words."""
    words = {name: "off" for name, _ in STRENGTHS.values()}
    words["noise"] = "none"
    for force in forces:
        place = PLACES.get(type(force))
        if place is not None:
            name, strength = STRENGTHS[place]
            words[name] = f"{getattr(force, strength):.10g}"
            if isinstance(force, Interference) and force.leak:
                words[name] += f" with a leak of {force.leak:.10g}"
        if isinstance(force, Noisy):
            words["noise"] = f"{force.distribution} of sigma {force.sigma:.10g}"
    return words


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """ "lam 0.03 -> 0.01, interference off -> 1"; empty where nothing changed."""
    return ", ".join(
        f"{name} {before[name]} -> {now}" for name, now in after.items() if before[name] != now
    )
