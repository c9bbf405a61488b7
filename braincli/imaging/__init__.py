"""What is on disk and in memory, and whether it can be trusted: scans, cases, slices, brains, tissue."""
