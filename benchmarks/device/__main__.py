"""``python -m benchmarks.device``: measure the accelerator that JAX finds, unattended.

    python -m benchmarks.device --out device.json            # everything, within 570 s
    python -m benchmarks.device --parts correct evaluation   # some of it
    JAX_PLATFORMS=cpu python -m benchmarks.device --rehearse # small sizes, on the CPU too

Progress goes to standard error and the table, last, to standard output; the JSON file and the table
beside it are whole after every row. Exit code: 0 if every part was done and every goal met, 1 for a
goal that was missed, 2 for arguments that mean nothing, 3 for a part that failed, ran out of time
or was not started, 130 if interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.device.runner import Outcome, Part, Status, met, run_parts, table, write
from benchmarks.tables import provenance
from flow.results.provenance import versions

PARTS = {
    "device": 45.0,
    "correct": 130.0,
    "evaluation": 130.0,
    "figure3": 200.0,
    "large": 300.0,
    "step": 120.0,
}
"""Names of the parts and the seconds that each may take; what explains the others is last."""
LIMIT = 570.0
"""Seconds for all of them: ten minutes, but for what starting and ending takes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    scale = "rehearsal" if options.rehearse else "full"
    about = {"scale": scale, "limit": options.limit, **provenance(), **_accelerator_versions()}

    def keep(outcomes: Sequence[Outcome]) -> None:
        write(options.out, {**about, **_card(outcomes)}, outcomes)

    parts = [_part(name, scale) for name in PARTS if name in options.parts]
    signal.signal(signal.SIGTERM, _end)
    try:
        outcomes = run_parts(parts, options.limit, keep)
    except KeyboardInterrupt:
        print(f"interrupted; {options.out} has what was measured", file=sys.stderr)
        return 130
    print(table([outcome.to_dict() for outcome in outcomes]))
    if any(outcome.status is not Status.DONE for outcome in outcomes):
        return 3
    return int(any(met(row) is False for outcome in outcomes for row in outcome.rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("device.json"),
        help="JSON file; the table goes beside it, as .md (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--parts", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART",
        help=f"any of {', '.join(PARTS)}; always in this order (default all)",
    )  # fmt: skip
    parser.add_argument(
        "--rehearse", action="store_true", help="small sizes, which a CPU can do as well"
    )
    parser.add_argument(
        "--limit", type=_seconds, default=LIMIT, metavar="SECONDS",
        help="time for all parts (default %(default)g); each has a limit of its own besides",
    )  # fmt: skip
    return parser


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if (seconds := float(text)) > 0.0:
            return seconds
    raise argparse.ArgumentTypeError(f"expected seconds > 0, got {text}")


def _part(name: str, scale: str) -> Part:
    command = (sys.executable, "-m", "benchmarks.device.parts", name, scale)
    return Part(name, command, PARTS[name])


def _accelerator_versions() -> dict[str, str]:
    return versions("jax", "jaxlib", "diffrax", "equinox")


def _card(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What the parts found the device to be."""
    found = [outcome.device for outcome in outcomes if outcome.device is not None]
    return {"device": found[0]} if found else {}


def _end(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
