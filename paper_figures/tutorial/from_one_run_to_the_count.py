# %% [markdown]
# # 3. From one run to n²/4m
#
# Now 64 features, 128 neurons, and all three forces. There are twice as many neurons as features need.

# %%
import matplotlib.pyplot as plt
import numpy as np

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.analysis import winners
from flow.analysis.statistics import mean_and_interval
from theory.counting import paper_count, slot_law

n, m = 64, 128
forces = [FeatureBenefit(), Interference(), Regularization(0.01)]
run = integrate(forces, gaussian_init(n, m, seed=0), film=True, metadata={"seed": 0, "scale": 1.0})
run.plot()

# %% [markdown]
# Bottom right: every feature ends on one neuron, and a few neurons carry two features, of opposite sign. They are the
# *polysemantic* ones.

# %%
print(run.summary())

# %% [markdown]
# ## How many, on average?
#
# The paper counts pairs: two features whose largest starting weights stand on the same neuron with opposite signs will
# share it, and there are about $n^2/4m$ such pairs. Here are 20 seeds.

# %%
seeds = range(20)
runs = [integrate(forces, gaussian_init(n, m, seed=seed)) for seed in seeds]
counts = [run.polysemantic for run in runs]
mean, half = mean_and_interval(counts)
print(f"{mean:.1f} ± {half:.1f} (95 % interval), n²/4m = {paper_count(n, m):.0f}")

# %% [markdown]
# Near, but is it for the paper's reason? If so, the largest starting weight should win.

# %%
kept = [
    100 * winners(gaussian_init(n, m, seed=seed), run.final).largest_stayed.mean()
    for seed, run in zip(seeds, runs)
]
mean, half = mean_and_interval(kept)
print(f"the initially largest weight wins for {mean:.0f} ± {half:.0f} % of the features")

# %% [markdown]
# It wins for less than half of them. What the start decides is forgotten, and the number comes out nearly right for another
# reason: whoever moves lands on one of the $2m$ pairs of neuron and sign that are free, its *slots*. If all free slots
# were equally good, the number would follow the *slot law*, a distribution with mean $n(n-1)/(4m-2)$.

# %%
law = slot_law(n, m)
k = np.arange(0, 17)
figure, axis = plt.subplots(figsize=(7, 3.5))
axis.bar(k, [np.mean(np.array(counts) == value) for value in k], color="#4b9cd3", label="20 runs")
axis.plot(k, law.pmf(k), "ko--", ms=4, label="slot law")
axis.axvline(float(paper_count(n, m)), color="0.5", ls=":", label="n²/4m")
axis.set(xlabel="polysemantic neurons", ylabel="share of runs")
axis.legend()

# %% [markdown]
# ## Where it fails
#
# The count depends on $\lambda$, which neither formula knows. What matters is $\Lambda = \lambda\sqrt m/c$. Compare 1 with
# 0.02, over 20 seeds each.

# %%
for coupling in (1.0, 0.02):
    forces[2] = Regularization(coupling / np.sqrt(m))
    counts = [integrate(forces, gaussian_init(n, m, seed=seed)).polysemantic for seed in seeds]
    mean, half = mean_and_interval(np.array(counts) / law.mean())
    print(f"λ√m/c = {coupling}: {mean:.2f} ± {half:.2f} of the slot law")

# %% [markdown]
# The [count map](../count_map.md) has 17,127 such runs.
#
# **Try:** the same with `m = 64`. Are there more than the law says, or fewer? And with `n = 128, m = 128`?
#
# Next: [noise and cures](noise_and_cures.ipynb).
