"""JAX's settings are the user's outside, and this project's inside."""

import numpy as np
import pytest

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.training import train
from flow.training.setup import Network, Optimizer, Training
from tests.accelerator.test_batch import products

jax = pytest.importorskip("jax")

FORCES = [FeatureBenefit(), Interference(), Regularization(0.05)]
STRICT = {"jax_numpy_rank_promotion": "raise", "jax_numpy_dtype_promotion": "strict"}


@pytest.fixture
def strict():
    before = {name: getattr(jax.config, name) for name in STRICT}
    for name, value in STRICT.items():
        jax.config.update(name, value)
    yield
    assert {name: getattr(jax.config, name) for name in STRICT} == STRICT
    for name, value in before.items():
        jax.config.update(name, value)


def test_runs_work_where_jax_raises_on_broadcasting_and_promotion(strict):
    W0 = gaussian_init(4, 6, seed=0, dtype=np.float32)
    run = integrate(FORCES, W0, t_end=2.0, backend="diffrax")
    np.testing.assert_allclose(run.final, integrate(FORCES, W0, t_end=2.0).final, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_works_where_jax_raises_on_broadcasting_and_promotion(strict, dtype):
    training = Training(
        network=Network(c=1.0, lam=0.05), optimizer=Optimizer(method="proximal", rate=0.01)
    )
    (run,) = train(training, gaussian_init(4, 6, seed=0, dtype=dtype), steps=3)
    assert np.isfinite(run.final).all()


def test_products_of_training_have_the_precision_of_their_operands(monkeypatch):
    """No TF32 by accident, as in the solver: and outside, JAX's own precision."""
    from flow.training import network

    seen = []
    gram = network.gram

    def watched(W):
        program = jax.make_jaxpr(lambda A: A @ A.T)(W)
        seen.extend(product.params["precision"] for product in products(program.jaxpr))
        return gram(W)

    monkeypatch.setattr(network, "gram", watched)
    training = Training(
        network=Network(c=1.0, lam=0.05), optimizer=Optimizer(method="proximal", rate=0.01)
    )
    train(training, gaussian_init(4, 5, seed=0, dtype=np.float32), steps=1)
    assert set(seen) == {(jax.lax.Precision.HIGHEST,) * 2}
    assert jax.config.jax_default_matmul_precision is None
