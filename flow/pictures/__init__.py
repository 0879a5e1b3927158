"""Plots and films of results."""
