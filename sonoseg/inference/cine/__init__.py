"""Loops of stage 4: every frame of a DICOM loop or a video is measured, and the loop is summarised in one row."""
