"""Columns of the split tables besides those of the classes; a class cannot have the name of such a column."""

BEFORE_CLASSES = ("id", "image_path", "frame", "region", "mask_path", "patient", "fold")
AFTER_CLASSES = ("width", "height", "row_mm", "col_mm", "sha256", "mask_sha256")
SPLIT_COLUMNS = (*BEFORE_CLASSES, *AFTER_CLASSES)
