"""Torch modules and pure functions that systems share."""
