"""A trained model on disk: description, weights, card, search."""
