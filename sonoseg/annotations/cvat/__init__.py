"""Annotation format `cvat`."""
