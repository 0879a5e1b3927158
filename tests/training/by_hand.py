"""The gradient of the network's loss, differentiated by hand: NumPy, in double precision."""

import numpy as np

SLOPES = {
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: 1.0 * (z > 0.0)),
    "linear": (lambda z: z, np.ones_like),
    "softplus": (lambda z: np.logaddexp(0.0, z), lambda z: 1.0 / (1.0 + np.exp(-z))),
}
"""Nonlinearities and their derivatives, that of ReLU at 0 being 0."""


def gradient_by_hand(network, weights, X, error_weight=1.0, activity_weight=1.0):
    """Of W or D, of E or None, of b or None; the gradient of ℓ1 at a zero is sign(0) = 0.

    weights : (D, E or None, b or None); X : (b, n) the inputs, and what they are to be.
    """
    D, E, b = weights
    encoder = D if E is None else E
    (g, g_slope), (f, f_slope) = SLOPES[network.hidden], SLOPES[network.output]
    encoded = X @ encoder
    H = g(encoded)
    Z = H @ D.T + (0.0 if b is None else b)
    dZ = 0.5 * network.c * error_weight * (f(Z) - X) * f_slope(Z)
    dD, dH, db = dZ.T @ H, dZ @ D, dZ.sum(axis=0)
    size, weight = (
        (np.sign, activity_weight) if network.penalty == "l1" else (lambda a: a, error_weight)
    )
    if network.penalized == "activations":
        dH = dH + network.lam * weight * size(H)
    dE = X.T @ (dH * g_slope(encoded))
    if network.penalized == "weights":
        dD = dD + 0.5 * network.lam * size(D)
        dE = dE + 0.5 * network.lam * size(encoder)
    if E is None:
        return dD + dE, None, None if b is None else db
    return dD, dE, None if b is None else db
