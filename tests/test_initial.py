"""Starting weights."""

import numpy as np
import pytest

from flow import gaussian_init


def test_the_start_is_the_documented_one():
    expected = np.random.default_rng(7).normal(0, 0.9 / np.sqrt(6), (4, 6))
    np.testing.assert_array_equal(gaussian_init(n=4, m=6, seed=7, scale=0.9), expected)
    assert gaussian_init(4, 6, seed=7, dtype=np.float32).dtype == np.float32


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (-1, 2), (2.5, 2)])
def test_sizes_below_one_are_refused(n, m):
    with pytest.raises(ValueError, match="must be a whole number >= 1"):
        gaussian_init(n, m, seed=0)


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_a_scale_that_is_not_a_size_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be a finite number >= 0"):
        gaussian_init(2, 2, seed=0, scale=scale)
