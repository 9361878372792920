"""Input and output: images, masks, tables, and files that are written atomically. Imports no torch."""
