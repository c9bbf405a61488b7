"""Case -> restoration -> residual -> anomaly map -> mask on the scan's own grid."""
