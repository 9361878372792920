"""The DICOM node: images in by C-STORE, results back to an archive; `sonoseg dicom-node`."""
