"""The zoo: one file per method, one line each in :mod:`braincli.methods.registry`."""
