"""Flags, configuration files, what commands print."""
