"""Stepping, looking, branching and going on, as one does it in a notebook."""

import os
from textwrap import dedent

import nbclient
import nbformat
import pytest

from tests import ROOT

CELLS = [
    """
    import numpy as np
    from flow import FeatureBenefit, Interference, Regularization, Simulation, Trajectory
    from flow import gaussian_init, integrate
    forces = [FeatureBenefit(), Interference(), Regularization(0.03)]
    W0 = gaussian_init(n=16, m=32, seed=0)
    run = integrate(forces, W0, film=True)
    run
    """,
    "print(run.summary())",
    "run.polysemantic, run.end_states.counts()",
    "run.plot()",
    "run.plot_weights()",
    "run.plot_energies()",
    "run.observables, run.events",
    "run.to_pandas().tail(3)",
    "run.to_xarray()",
    """
    sim = Simulation(forces, W0)
    sim.run(until=5.0, progress=True)
    sim
    """,
    """
    other = sim.branch()
    other.forces = [FeatureBenefit(), Regularization(0.03)]
    for _ in other:
        pass
    sim.step()
    np.abs(sim.at(sim.t - 1e-3) - sim.W).max(), other
    """,
    """
    sim.trajectory().save("half.npz")
    rest = Trajectory.load("half.npz").simulation()
    rest.run()
    sim.run()
    assert np.array_equal(rest.W, sim.W)
    assert np.array_equal(sim.trajectory().final.nonzero(), rest.W.nonzero())
    rest.trajectory().plot()
    """,
    'run.animate("film.gif")',
]


@pytest.mark.long
def test_a_notebook_steps_looks_branches_and_goes_on(tmp_path):
    cells = [nbformat.v4.new_code_cell(dedent(cell).strip()) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    nbformat.write(notebook, tmp_path / "run.ipynb")
    shown = [[output for output in cell.outputs if "data" in output] for cell in cells]
    texts = [
        "\n".join(str(data.data.get("text/plain", "")) for data in outputs) for outputs in shown
    ]
    assert "STATIONARY" in texts[0]
    assert "<img" in shown[0][0].data["text/html"] or "<svg" in shown[0][0].data["text/html"]
    for k in (3, 4, 5, 11):
        assert any("image/png" in data.data for data in shown[k]), CELLS[k]
    assert all(len(text.splitlines()) <= 40 for text in texts)
    told = [out["text"] for cell in cells for out in cell.outputs if out.get("name") == "stderr"]
    assert not [text for text in told if "arning" in text]
    assert (tmp_path / "film.gif").stat().st_size > 1000
