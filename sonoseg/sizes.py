"""Image size and pixel spacing, and limits of counts. Imports no numpy: command lines and task files load at once."""

Size = tuple[int, int]
"""(height, width) in pixels."""

Spacing = tuple[float, float]
"""(row_mm, col_mm): millimetres from one pixel row, or column, to the next."""

MAX_EPOCHS = 1_000_000
MAX_COPIES = 1000
"""Most epochs of a training, and augmented copies of an image, in task files and on the command line."""
