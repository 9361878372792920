"""Stage 4: new images to masks, overlays, shapes, measurements and a table."""
