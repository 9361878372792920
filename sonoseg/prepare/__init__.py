"""Stage 1: annotated images to a checked dataset, masks and a split by patient. Imports no torch."""
