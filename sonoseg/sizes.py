"""Image size and pixel spacing. Imports no numpy, so that command lines and task files load at once."""

Size = tuple[int, int]
"""(height, width) in pixels."""

Spacing = tuple[float, float]
"""(row_mm, col_mm): millimetres from one pixel row, or column, to the next."""
