"""Phantoms of the spine: anatomy, medium, artefacts of scanners, and the dataset of annotated images."""
