"""Results of stage 4 as DICOM objects, in the examination of their source: Segmentation, structured report, capture.

The package is optional: it needs `sonoseg[dicom]`, and is imported only where DICOM is written.
"""
