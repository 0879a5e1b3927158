"""How long it takes from a control that is released to the picture, in a real browser."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.browser import Browser, server
from benchmarks.tables import Table

SIZES = ((32, 64), (64, 128), (256, 1024))
COLUMNS = [
    "n", "m", "releases", "median ms to W and counts", "worst ms", "median ms to all panels",
    "worst ms of all", "median ms to the last curve",
]  # fmt: skip

_RELEASE = """
const [at, done] = arguments, m = (name) => Bokeh.documents[0].get_model_by_name(name)
const {explore_sketched, explore_shown} = window, exact = m("exact").data
const began = performance.now(), since = () => performance.now() - began
const times = [null, null, null]
const look = () => {
  if (times[0] == null && window.explore_sketched > explore_sketched) times[0] = since()
  if (times[1] == null && window.explore_shown > explore_shown)
    setTimeout(() => { times[1] = since() })
  if (times[2] == null && times[1] != null && m("exact").data != exact && m("exact").data.t.length)
    requestAnimationFrame(() => setTimeout(() => { times[2] = since() }))
  if (times.includes(null)) requestAnimationFrame(look)
  else done(times)
}
m("lam").value = at
m("lam").value_throttled = at
look()
"""


def explore(fast: bool) -> Table:
    """A page of `flow.explore` in headless Chromium on the same machine, λ moved between releases.

    From the release of the slider of λ to the frame in which W and the counts are new, to the one
    in which all panels are, and to the one that has the dashed curve of the run without
    interference, which is computed last. λ from 0.008 to 0.02, so that no run is made twice; 50
    releases (10 of 256 × 1024), the first two not counted.
    """
    rows = []
    with TemporaryDirectory() as folder, server() as address:
        browser = Browser(Path(folder), log=False)
        try:
            for n, m in SIZES[1:2] if fast else SIZES:
                releases = 5 if fast else 10 if n * m > 2**16 else 50
                browser.open(f"{address}?n={n}&m={m}&lam=0.01")
                browser.wait("return m('exact').data.t.length > 0")
                times = [
                    browser.driver.execute_async_script(_RELEASE, float(at))
                    for at in np.linspace(np.log10(0.008), np.log10(0.02), releases + 2)
                ]
                first, panels, last = np.array(times[2:]).T
                rows.append(
                    [
                        n, m, releases, float(np.median(first)), float(first.max()),
                        float(np.median(panels)), float(panels.max()), float(np.median(last)),
                    ]
                )  # fmt: skip
        finally:
            browser.close()
    return COLUMNS, rows
