"""From class probabilities to shapes, millimetres and a status; pure NumPy and OpenCV, used by stages 3 and 4."""
