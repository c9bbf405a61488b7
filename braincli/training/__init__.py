"""Cohort -> trained model: the one training loop for every method."""
