"""Folders of masks: which pictures are pairs of image and mask, and what the values of the masks mean."""
