"""Synthetic anomalies: a random part draws parameters, a deterministic part applies them."""
