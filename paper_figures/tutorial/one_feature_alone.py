# %% [markdown]
# # 1. One feature alone
#
# A feature is one row of the matrix $W$; its weights say how strongly it is written onto each of $m$ neurons.
# Before features can get into each other's way, look at one of them. Two forces act on it:
#
# $$\frac{dW_k}{dt} = (1 - \|W\|^2)\, W_k - \lambda\, \mathrm{sign}(W_k)$$
#
# The first, *feature benefit*, makes the row one unit long. The second, *regularization*, takes the same amount
# $\lambda$ from the size of every weight in a unit of time, and holds a weight at zero once it is there.
#
# This takes about a quarter of an hour to read. Every cell can be changed and run again.

# %%
import matplotlib.pyplot as plt
import numpy as np

from flow import FeatureBenefit, Regularization, gaussian_init, integrate

W0 = gaussian_init(n=1, m=20, seed=0)
run = integrate([FeatureBenefit(), Regularization(0.02)], W0, film=True)
run.plot_weights()

# %% [markdown]
# Twenty weights start small. All but one die, one after the other, from the smallest to the largest. Why the largest
# wins can be read from the equation: a weight grows where $(1 - \|W\|^2)\,|W_k| > \lambda$, so there is one
# threshold for all of them, $\theta = \lambda / (1 - \|W\|^2)$. Weights above it grow, weights below it shrink. As the
# row gets longer, $\theta$ rises and overtakes one weight after the other.

# %%
winner, largest = np.argmax(np.abs(run.final)), np.argmax(np.abs(W0))
print(f"weight {winner} is left; the largest at the start was weight {largest}")

# %% [markdown]
# ## How fast?
#
# The paper says that $\|W\|_1$, the sum of all sizes, falls as $\Theta(1/\lambda t)$: like a constant over $\lambda t$.
# Take many neurons and look at the product. With interference off no steps of $W$ are needed (`backend exact`): the
# row has two unknowns only, whatever $m$ is.

# %%
times = np.geomspace(1.0, 3e3, 60)
figure, axis = plt.subplots(figsize=(7, 4))
for m in (100, 1_000, 10_000, 100_000):
    lam = 0.01 / np.sqrt(m)
    alone = integrate(
        [FeatureBenefit(), Regularization(lam)],
        gaussian_init(n=1, m=m, seed=1),
        t_end=times[-1] * np.sqrt(m) / 10,
    )
    seen = alone.observables
    axis.plot(lam * seen.times * np.sqrt(m), lam * seen.times * seen.l1[:, 0], label=f"m = {m:,}")
axis.set(xscale="log", xlabel="λt√m", ylabel="‖W‖₁ · λt", xlim=(1e-2, 1e3), ylim=(0, 1.5))

from theory.universal import universal_law

law = universal_law(np.linspace(0.01, 5.0, 300))
axis.plot(law.time, law.l1 * law.time, "k--", label="universal law")
axis.axhline(1.0, color="0.7", zorder=0)
axis.legend()

# %% [markdown]
# The constant is 1. All curves follow one law, drawn dashed, in which nothing is fitted: it comes from the half-normal
# distribution of the starting sizes. The product rises to 1.138 and comes back to 1 slowly. Every curve
# is one random start, and leaves the law when only a few weights are left, small $m$ first. Proof: section 2 of the theory's page; code: `theory/universal.py`;
# test: `tests/theory/test_universal.py`.
#
# ## When does a weight die?
#
# Of two weights $a > b$ the smaller dies at a time known in closed form.

# %%
from theory.collisions import race_time

a, b, lam = 0.8, 0.6, 0.01
race = integrate(
    [FeatureBenefit(), Regularization(lam)], np.array([[a, b]]), events=True, rtol=1e-6
)
print(f"simulated {race.events.extinctions.time[0]:.2f}, closed form {race_time(a, b, lam):.2f}")

# %% [markdown]
# **Try:** set `lam = 0.4` in the first cell. Above $2/(3\sqrt 3) = 0.385$ no weight survives at all. Why? (Ask how large
# $(1 - w^2)\,w$ can be.)
#
# Next: [two features meet](two_features_meet.ipynb).
