"""What is trained, on what and how: the settings of :func:`flow.training.train`, as plain data.

Nothing here imports NumPy or JAX.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flow.defaults import DEFAULT_DEGREES, NOISE_LAWS, check_degrees

HIDDEN = ("linear", "relu", "gelu", "top-k", "layer-norm")
BETWEEN = ("linear", "relu")
OUTPUTS = ("relu", "linear", "leaky-relu", "softplus", "sigmoid", "tanh")
PENALTIES = ("l1", "l2")
PENALIZED = ("weights", "activations")
MAGNITUDES = ("one", "uniform")
METHODS = ("gd", "proximal", "sgd", "adamw")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def _number(name: str, value: float, *, positive: bool = False) -> None:
    if not (math.isfinite(value) and (value > 0.0 if positive else value >= 0.0)):
        sign = "> 0" if positive else ">= 0"
        raise ValueError(f"{name} must be a finite number {sign}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Network:
    """The autoencoder and what it is charged for.

        y = f(D (g(Eᵀx) + ξ) + b),    L = (c/4) Σ_x ‖y − x‖² + λ·penalty

    f is `output`, g is `hidden`, ξ the noise (:class:`Noise`); D = E = W : (n, m) unless untied;
    b = 0 unless `output_bias`. With the defaults L is the energy of feature benefit, interference
    and regularization of theory/README, section 1, in its convention: c = 1 is the paper's text,
    c = 4 the authors' loss Σ‖y − x‖² + λ Σ|W|, and gradient descent with step η walks η of flow
    time per step.

    A stack of L hidden layers has the codes h_l and, on the way back, their reconstructions r_l,

        h_l = b(E_lᵀ h_{l−1}),  h_L = g(E_Lᵀ h_{L−1}),   r_L = h_L + ξ,  r_{l−1} = b(D_l r_l)

    with h_0 = x, y = f(D_1 r_1 + b) and b() = `between`. How many layers there are, and how wide,
    the weights say that training starts from; with one layer it is the network above.
    Source: paper, section 1.1 and appendix A. Raises ValueError for unknown words and numbers out
    of range.
    """

    c: float = 1.0
    """Four times the weight of the squared error, > 0; as in :mod:`flow.simulate`, 1."""
    lam: float = 0.01
    """λ ≥ 0, the weight of the penalty; 0 is none. Of an untied network it is twice the authors'
    l1: they charge l1 (Σ|D| + Σ|E|), here it is λ times the mean of the two sums."""
    penalty: str = "l1"
    """"l1": Σ|·|; "l2": ½Σ(·)²."""
    penalized: str = "weights"
    """"weights": those of W, of untied networks the mean of the two matrices' penalties, so that
    D = E costs what W does; of a stack the sum over its layers. "activations": the codes g(Eᵀx), of
    a stack h_1 … h_L, summed over the inputs, which for the standard basis as inputs, one layer
    and g linear is the same as the weights of E."""
    untied: bool = False
    """Whether decoder D and encoder E are matrices of their own."""
    output_bias: bool = False
    """Whether b : (n,) is learned, from 0; no penalty is on it, but AdamW's decay is."""
    hidden: str = "linear"
    """g: "linear", "relu", "gelu" (h Φ(h)), "top-k" or "layer-norm" (no gain, no bias)."""
    top: int = 1
    """k ≥ 1 of "top-k": of every code the k entries that are largest in size stay, those that tie
    with the last of them too, and the others are 0."""
    between: str = "linear"
    """b of a stack, "linear" or "relu": what is done to every code but the last, and to the
    reconstructions of these codes; with one hidden layer nothing."""
    output: str = "relu"
    """f: "relu", "linear", "leaky-relu" (slope 0.01), "softplus", "sigmoid" or "tanh"."""

    def __post_init__(self) -> None:
        _number("Network.c", self.c, positive=True)
        _number("Network.lam", self.lam)
        _one_of("Network.penalty", self.penalty, PENALTIES)
        _one_of("Network.penalized", self.penalized, PENALIZED)
        _one_of("Network.hidden", self.hidden, HIDDEN)
        if self.top < 1:
            raise ValueError(f"Network.top must be a whole number >= 1, got {self.top!r}")
        _one_of("Network.between", self.between, BETWEEN)
        _one_of("Network.output", self.output, OUTPUTS)


@dataclass(frozen=True, kw_only=True)
class Data:
    """The inputs. By default the n standard basis vectors, all of them at every step.

    Otherwise `batch` inputs are drawn afresh at every step, and the sum over them is divided by
    the expected Σ a² of one feature over a batch (the activations' ℓ1 by that of Σ |a|). So every
    feature weighs what it does in the full batch, and for p → 0 the expected loss tends to that
    of the full batch. Raises ValueError for values out of range or settings that need a batch.

    A loss that is the mean of (y − x)² over b inputs and n features, rather than this sum over
    the inputs, is had by c = 4p/n, with p how often a feature is on (1/n for one at a time).
    """

    probability: float | None = None
    """Each feature is on with this probability, 0 < p ≤ 1, independently of the others; None:
    exactly one is on, every one as often."""
    exclusive: int | None = None
    """Features fall into two blocks, the first n/2 and the others, that never occur together: a
    fair coin picks the block of an input, and this many of its n/2 features are on, drawn without
    replacement. Takes the place of `probability`; None: no blocks."""
    overlap: float = 0.0
    """Probability that an input has the other block too, with as many of its features, drawn
    independently; 0 ≤ overlap ≤ 1, 0: never. Only with `exclusive`."""
    magnitude: str = "one"
    """Size a of a feature that is on: "one", or "uniform" on [0, 1)."""
    batch: int | None = None
    """Inputs per step; None is the full batch of the standard basis."""
    rotation: int | None = None
    """Seed of a random orthogonal matrix Q whose rows replace the standard basis as inputs, the
    targets staying what they were; needs an untied network. None: Q = 1."""

    def __post_init__(self) -> None:
        _one_of("Data.magnitude", self.magnitude, MAGNITUDES)
        if self.probability is not None and not 0.0 < self.probability <= 1.0:
            raise ValueError(
                f"Data.probability must lie in (0, 1] or be None, got {self.probability!r}"
            )
        for name, value in (("batch", self.batch), ("exclusive", self.exclusive)):
            if value is not None and value < 1:
                raise ValueError(f"Data.{name} must be a whole number >= 1 or None, got {value!r}")
        if self.exclusive is not None and self.probability is not None:
            raise ValueError(
                "expected Data.exclusive or Data.probability, got both; leave one of them out"
            )
        if not 0.0 <= self.overlap <= 1.0:
            raise ValueError(f"Data.overlap must lie in [0, 1], got {self.overlap!r}")
        if self.overlap > 0.0 and self.exclusive is None:
            raise ValueError(
                "expected Data.exclusive with Data.overlap, got none; give the number of features "
                "of a block that are on"
            )
        drawn = self.probability is not None or self.exclusive is not None
        if self.batch is None and (drawn or self.magnitude != "one"):
            raise ValueError(
                "expected Data.batch with inputs that are drawn (Data.probability, Data.exclusive "
                "or Data.magnitude uniform), got none; give the number of inputs per step"
            )

    def check_features(self, n: int) -> None:
        """Raise ValueError unless there can be `n` features."""
        k = self.exclusive
        if k is not None and (n % 2 or k > n // 2):
            raise ValueError(
                f"expected an even number of features, at least {2 * k}, with Data.exclusive {k}, "
                f"got {n}; the two blocks have half of them each"
            )

    def expected_on(self, n: int) -> float:
        """How many inputs of a batch each of `n` features is expected to be on in."""
        assert self.batch is not None
        if self.exclusive is not None:
            return self.batch * self.exclusive / n * (1.0 + self.overlap)
        return self.batch / n if self.probability is None else self.batch * self.probability


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise ξ on the hidden layer, of a stack on its last: independent per neuron, mean 0, variance
    σ².

    Source: paper, section 3; theory/README, section 6. Raises ValueError for values out of range.
    """

    distribution: str = "bipolar"
    """"bipolar": ±σ; "uniform" on [−√3σ, √3σ]; "normal"; "laplace"; "student-t"."""
    sigma: float = 0.1
    """σ ≥ 0, the standard deviation."""
    degrees: float = DEFAULT_DEGREES
    """Degrees of freedom of "student-t", odd, from 3 to 99, as in :mod:`flow.defaults`."""
    fresh: bool = False
    """Whether every input of every instance gets noise of its own; otherwise one vector per
    step is shared by all inputs and instances, as in the authors' code."""

    def __post_init__(self) -> None:
        _one_of("Noise.distribution", self.distribution, NOISE_LAWS)
        _number("Noise.sigma", self.sigma)
        try:
            object.__setattr__(self, "degrees", float(check_degrees(self.degrees)))
        except ValueError as error:
            raise ValueError(f"Noise.degrees: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How a step is made from the gradient of the loss.

    Raises ValueError for an unknown method or numbers out of range.
    """

    method: str = "gd"
    """"gd": W ← W − η ∇L, with sign(0) = 0 for the gradient of ℓ1; full batch, no noise.
    "sgd": the same on minibatches or with noise. "proximal": W ← prox(W − η ∇smooth part), the
    penalty's own minimization step, under which ℓ1 makes zeros exact. "adamw": Adam with
    decoupled weight decay, β = 0.9, 0.999, ε = 1e-8."""
    rate: float = 1e-2
    """η > 0: learning rate, in flow time per step. For "adamw", whose steps do not scale with
    the gradient, rate × steps is a time by name only."""
    weight_decay: float = 0.01
    """Decay per unit of rate × steps; "adamw" alone uses it."""

    def __post_init__(self) -> None:
        _one_of("Optimizer.method", self.method, METHODS)
        _number("Optimizer.rate", self.rate, positive=True)
        _number("Optimizer.weight_decay", self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A network, its data, its noise and its optimizer.

    Raises ValueError for parts that do not go together.
    """

    network: Network = Network()
    """What is trained."""
    data: Data = Data()
    """On what."""
    noise: Noise | None = None
    """Noise on the hidden layer; None is none."""
    optimizer: Optimizer = Optimizer()
    """How."""

    def __post_init__(self) -> None:
        network, method = self.network, self.optimizer.method
        if method == "gd" and (self.data.batch is not None or self.noise is not None):
            raise ValueError(
                "expected the full batch without noise with Optimizer.method gd, got minibatches "
                "or noise; use sgd, proximal or adamw"
            )
        if method == "proximal" and network.penalized != "weights":
            raise ValueError(
                "expected Network.penalized weights with Optimizer.method proximal, got "
                f"{network.penalized}; use gd or sgd"
            )
        if self.data.rotation is not None and not network.untied:
            raise ValueError(
                "expected Network.untied with Data.rotation, whose inputs need an encoder of "
                "their own, got a tied network; make it untied"
            )


FIGURE_3 = Training(
    network=Network(c=4.0, lam=1e-3),
    optimizer=Optimizer(method="adamw", rate=1e-3, weight_decay=0.01),
)
"""How the authors made figure 3: n = 256, m = 256…4096, W0 of standard deviation 1/√m, float32,
7,500 steps, 16 instances. Source: theory/README, section 7."""
FIGURE_3_STEPS = 7_500

FIGURE_4 = Training(
    network=Network(c=4.0, lam=0.0),
    noise=Noise(distribution="bipolar", sigma=0.15),
    optimizer=Optimizer(method="sgd", rate=0.02),
)
"""How the authors made figure 4: n = 8, m = 16, bipolar and normal noise of σ = 0.07, 0.1, 0.15,
100,000 steps, observed every 5, 5 instances under the same noise. Source: theory/README, section
7."""
FIGURE_4_STEPS = 100_000
