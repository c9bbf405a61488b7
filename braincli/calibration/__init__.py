"""Contrast weights, threshold and smallest lesion: evidence -> search -> fit; cross-fitting."""
