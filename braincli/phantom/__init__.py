"""A generated glioma patient and the run that shows what braincli does with it."""
