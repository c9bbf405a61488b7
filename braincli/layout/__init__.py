"""What outputs are called, where they lie, and what stands beside them: the one place for names that are written."""
