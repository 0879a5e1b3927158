"""Soak: random cases until time is over, each from one number, each held to what must be true."""
