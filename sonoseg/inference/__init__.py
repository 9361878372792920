"""Stage 4: masks, overlays, shapes, measurements and a table from new images."""
