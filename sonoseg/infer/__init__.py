"""The wing of stage 4: a folder of new images to masks, overlays, shapes, measurements and a table."""
