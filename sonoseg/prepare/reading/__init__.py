"""Annotations of whole frames as label maps of the images in them."""
