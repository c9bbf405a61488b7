"""``synth``: planted anomalies with known masks, for testing any detector."""
