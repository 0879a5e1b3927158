# %% [markdown]
# # 2. Two features meet
#
# Two rows feel each other through their overlap $G_{12} = W_1 \cdot W_2$. *Interference* adds
# $-\mathrm{ReLU}(G_{12})\, W_2$ to the rate of $W_1$, and the other way round: it drives rows apart while their
# overlap is positive, and does nothing while it is negative. That asymmetry is the whole story of this notebook.
#
# Put both features on one neuron ($m = 1$). There are two ways to do so.

# %%
import matplotlib.pyplot as plt
import numpy as np

from flow import FeatureBenefit, Interference, Regularization, Simulation, gaussian_init, integrate

forces = [FeatureBenefit(), Interference(), Regularization(0.02)]


def meet(u: float, v: float):
    """Weights of two features on one neuron until they are at rest, and the times."""
    sim = Simulation(forces, np.array([[u], [v]]))
    seen = [(sim.t, *sim.W[:, 0])]
    for _ in sim:
        seen.append((sim.t, *sim.W[:, 0]))
    return np.array(seen).T


figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True)
for axis, v, name in (
    (axes[0], -0.5, "benign: opposite signs"),
    (axes[1], 0.5, "malign: same sign"),
):
    t, first, second = meet(0.6, v)
    axis.plot(t, first, label="feature 1")
    axis.plot(t, second, "--", label="feature 2")
    axis.set(title=name, xlabel="flow time t", xlim=(0, 60))
    axis.axhline(0, color="0.7", lw=1)
axes[0].set_ylabel("weight")
axes[0].legend()

# %% [markdown]
# On the left, a *benign* collision: the overlap is negative, neither feature feels the other, and both stay for ever.
# The neuron is polysemantic. On the right, a *malign* one: both want the same side of the neuron, and the larger weight
# wins. Polysemantic neurons come from benign collisions.
#
# ## A knife's edge
#
# What if both weights are equal? By symmetry they would stay equal for ever. But the point to which they come is a saddle:
# the smallest difference decides, even one that only rounding makes. All that a larger one changes is the time.

# %%
for gap in (0.0, 1e-6):
    run = integrate(forces, np.array([[0.5 + gap], [0.5]]))
    print(f"difference {gap:g}: ends at {run.final[:, 0].round(3)}: {run.message}")

# %% [markdown]
# ## With other neurons to go to
#
# With two neurons the loser of a malign collision has somewhere to go. Follow two rows of two weights each through the
# plane of their neurons; both begin on the same side of neuron 1.

# %%
start = np.array([[0.7, 0.2], [0.6, 0.3]])
sim = Simulation(forces, start)
path = [sim.W.copy()]
for _ in sim:
    path.append(sim.W.copy())
path = np.array(path)

figure, axis = plt.subplots(figsize=(4.5, 4.5))
for i, style in enumerate(("-", "--")):
    axis.plot(*path[:, i].T, style, marker=".", label=f"feature {i + 1}")
    axis.plot(*path[-1, i], "k*", ms=12)
axis.set(xlabel="weight on neuron 1", ylabel="weight on neuron 2", aspect="equal")
axis.legend()
print("at rest:", sim.W.round(3).tolist())

# %% [markdown]
# ## Two features among many neurons
#
# From random starts two features share a neuron with opposite signs by chance. There are $2m$ pairs of neuron and sign.
# The first feature takes one, which leaves the second $2m - 1$ (the taken one would be a malign collision), and one of
# these is the first's neuron with the other sign.

# %%
m, runs = 4, 60
shared = [
    integrate(forces, gaussian_init(n=2, m=m, seed=seed)).polysemantic for seed in range(runs)
]
print(f"shared in {sum(shared)} of {runs} runs; 1/(2m - 1) of {runs} is {runs / (2 * m - 1):.1f}")

# %% [markdown]
# **Try:** the seeds 60 to 600; or switch interference off (`forces = forces[::2]`) and see what becomes of the malign pair.
#
# Next: [from one run to n²/4m](from_one_run_to_the_count.ipynb).
