"""Predictions against references: metrics, curves, statistics, matching of files, tables."""
