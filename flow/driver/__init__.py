"""A run from its arguments to its result: step size, stopping, saving."""
