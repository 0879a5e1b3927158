"""What training costs in PyTorch: the peer of the flow and of :mod:`flow.training`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.tables import in_fresh_process

_PROGRAM = """
import time
import numpy as np, torch
W0 = np.random.default_rng(0).normal(0.0, 1.0 / np.sqrt({m}), ({n}, {m})).astype(np.float32)
W, x = torch.tensor(W0, requires_grad=True), torch.eye({n})
optimizer = torch.optim.AdamW([W], lr=1e-3, weight_decay=0.01, fused={fused})
def step():
    optimizer.zero_grad()
    loss = ((torch.relu({output}) - x) ** 2).sum() + 1e-3 * W.abs().sum()
    loss.backward()
    optimizer.step()
for _ in range(30):
    step()
times = []
for _ in range({repeats}):
    began = time.perf_counter()
    for _ in range({steps}):
        step()
    times.append((time.perf_counter() - began) / {steps})
result = dict(least=min(times), median=float(np.median(times)),
              threads=torch.get_num_threads(), torch=torch.__version__)
"""


def pytorch_adamw(
    n: int, m: int, output: str, *, steps: int, repeats: int, fused: bool = False,
    python: Path = Path(sys.executable),
) -> dict[str, Any]:  # fmt: skip
    """Seconds per float32 AdamW step of figure 3's network, and PyTorch's version and threads.

    Before the ReLU is `output`, an expression in the inputs x, the standard basis, and W.
    Raises subprocess.CalledProcessError if `python` has no PyTorch.
    """
    code = _PROGRAM.format(n=n, m=m, output=output, steps=steps, repeats=repeats, fused=fused)
    return in_fresh_process(code, python=python)
