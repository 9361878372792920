"""Annotation format `mask_folder`: masks as pictures."""
