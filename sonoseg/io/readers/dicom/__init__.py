"""Reader of DICOM images: stills and loops of ultrasound, and whatever else has pixels of a supported kind."""

from sonoseg.io.readers.dicom.reader import DicomReader

__all__ = ["DicomReader"]
