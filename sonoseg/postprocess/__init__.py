"""Class probabilities to label map, shapes, measurements and status. Imports no torch."""
