"""Weights that others published: inventory, archives, loading."""
