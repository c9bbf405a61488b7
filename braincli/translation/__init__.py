"""Scans as they would be otherwise, and what in a scan a classifier looks at."""
