"""Bytes in and out: images, masks, tables and files that are written whole or not at all. Imports no torch."""
