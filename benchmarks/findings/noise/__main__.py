"""``python -m benchmarks.findings.noise [PART …]``: noise in the hidden layer, in training and in
the flow.

Training is plain SGD on the network's loss with one noise vector per step (figure 4's protocol,
c = 4, no ℓ1); the flow is that of the expected loss, which knows no learning rate. Times are
learning rate × steps in the one and flow time in the other. What is plotted is ‖W_i‖₄⁴, the
paper's fourth norm, or r₄ = ‖W_i‖₄⁴/‖W_i‖₂⁴, which lengths do not enter: 1 on one neuron,
3/(m + 2) in a random direction. Errors are standard errors over instances.

Parts and what they keep: see the functions of their names. Runs of ``counts`` that are kept are
not made again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.command import check_names, command_line
from benchmarks.findings.noise.counts import counts
from benchmarks.findings.noise.figure4 import figure4
from benchmarks.findings.noise.figure5 import figure5a, figure5b
from benchmarks.findings.noise.figure7 import figure7
from benchmarks.findings.noise.protocol import Part
from benchmarks.findings.noise.rates import rate, rate16
from benchmarks.findings.noise.sign import sign
from benchmarks.tables import keep, markdown, provenance

PARTS = {
    "figure4": figure4,
    "rate": rate,
    "rate16": rate16,
    "sign": sign,
    "figure5a": figure5a,
    "figure5b": figure5b,
    "figure7": figure7,
}


def main(
    parts: Annotated[tuple[str, ...], tyro.conf.Positional] = (*PARTS, "counts"),
    fast: bool = False,
    out: Path = Path("benchmarks/findings/noise.json"),
) -> None:
    """Measure what noise does.

    Args:
        parts: any of figure4, rate, rate16, sign, figure5a, figure5b, figure7, counts.
        fast: short runs and few seeds, to see that it works.
        out: JSON file; parts measured before and not asked for now are kept.
    """
    check_names("part", parts, [*PARTS, "counts"])
    kept = json.loads(out.read_text()) if out.exists() else {}

    def keep_part(name: str, part: Part) -> None:
        kept[name] = {**part, "fast": fast, **provenance()}
        keep(out, kept)

    for name in parts:
        if name == "counts":
            old = kept.get("counts", {})
            columns = old["runs"] if old.get("fast") == fast else {}
            values = zip(*columns.values(), strict=True)
            runs = [dict(zip(columns, run, strict=True)) for run in values]
            for part in counts(fast, runs):
                keep_part(name, part)
        else:
            part = PARTS[name](fast)
            keep_part(name, part)
        about = (counts if name == "counts" else PARTS[name]).__doc__
        print(f"\n## {name}\n\n{about}\n\n{markdown(part['columns'], part['rows'])}", flush=True)


if __name__ == "__main__":
    command_line(main)
