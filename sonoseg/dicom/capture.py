"""The overlay as a Secondary Capture, which every viewer shows."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

import sonoseg
from sonoseg.dicom.result import NAME, NOTICE, SERIES, Result, encoded, uid

_SECONDARY_CAPTURE = UID("1.2.840.10008.5.1.4.1.1.7")
_COPIED = (
    *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription"),
    *("AccessionNumber", "ReferringPhysicianName", "SpecificCharacterSet"),
)


def capture(result: Result, picture: NDArray[np.uint8]) -> bytes:
    """Return the file of a Secondary Capture of an overlay `(H, W, 3)` uint8 RGB, without loss.

    The overlay of a loop is a frame of a video, which is lossy. Burned-in annotation is NO only where the source states
    it: an overlay may show text that was in the pixels.
    """
    source = result.source.dataset
    dataset = Dataset()
    for keyword in _COPIED:
        if keyword in source:
            dataset[keyword] = source[keyword]
    number, description = SERIES["capture"]
    dataset.SOPClassUID, dataset.SOPInstanceUID = _SECONDARY_CAPTURE, result.uid("capture")
    dataset.SeriesInstanceUID, dataset.SeriesNumber = result.series_uid("capture"), number
    dataset.SeriesDescription, dataset.Modality, dataset.InstanceNumber = description, "OT", result.number
    dataset.ContentDate, dataset.ContentTime = result.source.content_date, result.source.content_time
    dataset.Manufacturer = dataset.ManufacturerModelName = NAME
    dataset.SoftwareVersions, dataset.DeviceSerialNumber = sonoseg.__version__, result.model
    dataset.ConversionType, dataset.ImageType = "WSD", ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = dataset.Laterality = None  # have to be there, and are not known
    dataset.BurnedInAnnotation = "YES" if result.source.may_show_text else "NO"
    if result.is_loop or source.get("LossyImageCompression") == "01":
        dataset.LossyImageCompression = "01"
    dataset.ImageComments = NOTICE
    dataset.DerivationDescription = f"{NAME} {sonoseg.__version__}, task {result.task.name}, model {result.model}"
    dataset.SourceImageSequence = [_reference(result)]
    dataset.Rows, dataset.Columns = picture.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    data = picture.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(uid("implementation"))
    return encoded(dataset)


def _reference(result: Result) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = result.source.dataset.SOPClassUID
    item.ReferencedSOPInstanceUID = result.source.dataset.SOPInstanceUID
    if result.frame is not None:
        item.ReferencedFrameNumber = result.frame
    return item
