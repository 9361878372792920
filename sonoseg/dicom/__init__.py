"""DICOM objects that are written, and the DICOM node; reading DICOM is `io.readers.dicom`."""
