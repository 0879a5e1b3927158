"""Figure 7: encodings that get stuck."""

from __future__ import annotations

import numpy as np

from benchmarks.findings.noise.protocol import (
    STUCK,
    T_END,
    M,
    N,
    Part,
    flow,
    forces,
    fourth,
    noisy,
    sgd,
    short,
    sparsity,
    starts,
)


def figure7(fast: bool) -> Part:
    """One instance under bipolar noise, encoding by encoding, with its final W: the flow and
    training, σ = 0.15 and the caption's 0.01; and how many encodings are stuck over many starts."""
    t_end = 0.02 * T_END if fast else T_END
    grid, ends = np.linspace(0.0, t_end, 101), np.array([0.0, t_end])
    rows, curves = [], []
    for sigma in (0.15, 0.01):
        W = flow(starts([0]), forces("bipolar", sigma), grid)[0]
        l4 = sgd(starts([0]), noisy("bipolar", sigma), grid, seed=0, together=True)[0, 0]
        curves.append({"sigma": sigma, "flow": short(fourth(W).T), "sgd": short(l4.T),
                       "final": short(W[-1])})  # fmt: skip
    for n, m, sigma, count in ((N, M, 0.15, 40), (16, 32, 0.15, 6), (N, M, 0.01, 40)):
        W0 = starts(range(2 if fast else count), n, m)
        exact = sparsity(flow(W0, forces("bipolar", sigma), ends)[:, -1])
        l4, l2 = sgd(W0, noisy("bipolar", sigma), ends, seed=3000, together=False)[:, :, -1]
        for name, r4 in (("flow", exact), ("SGD", l4 / l2**4)):
            stuck = np.sum(r4 < STUCK, axis=1)
            shares = [f"{k}: {int(np.sum(stuck == k))}" for k in np.unique(stuck)]
            medians = (float(np.median(r4[on])) if on.any() else "-"
                       for on in (r4 >= STUCK, r4 < STUCK))  # fmt: skip
            rows.append([n, m, sigma, name, len(W0), ", ".join(shares), *medians])
    return {
        "columns": ["n", "m", "σ", "", "starts", f"encodings with r₄ < {STUCK}: starts",
                    "median r₄ of the others", "of those"],
        "rows": rows,
        "times": short(grid),
        "curves": curves,
    }  # fmt: skip
