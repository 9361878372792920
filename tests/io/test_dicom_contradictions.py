"""DICOM files and videos that contradict themselves: one sentence, bounded memory, and never a wrong millimetre."""

import io
import struct
import time
import zlib
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from sonoseg.errors import DataError
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers import read_frames, read_image, read_image_header, read_loop
from sonoseg.io.readers.dicom.fragments import WrongFragments, frames_of
from tests.dicom_files import JPEG, RLE, region_item, write_dicom, write_video

RNG = np.random.default_rng(7)
PICTURE = RNG.integers(0, 256, (60, 80), dtype=np.uint8)
LOOP = RNG.integers(0, 256, (4, 60, 80), dtype=np.uint8)
LOSSLESS, JPEG_2000 = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90"


def sentence(path: Path) -> str:
    """Return what is said of a file that cannot be read, empty where it can."""
    try:
        header = read_image_header(path)
        for ref in header.loop_refs(path) if header.is_loop else header.refs(path):
            records = list(read_loop(ref)) if header.is_loop else [read_image(ref)]
            for record in records:
                if isinstance(record, DataError):
                    raise record
    except DataError as error:
        return error.reason
    return ""


def with_pixels(path: Path, coded: list[bytes], syntax: str, **elements: Any) -> Path:
    """Replace the pixels of a file by coded frames."""
    import pydicom
    from pydicom.encaps import encapsulate

    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(coded)
    dataset["PixelData"].is_undefined_length = True
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path)
    return path


def picture_file(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def region(*place: int, mm: float = 0.2, **elements: Any) -> Any:
    return region_item(*(place or (10, 5, 69, 44)), (mm, mm), **elements)


@pytest.mark.parametrize(
    ("regions", "elements", "reason"),
    [
        ([region()], {"PixelSpacing": [0.9, 0.9]}, "PixelSpacing and the regions state different ones"),
        ([], {"PixelSpacing": [0.1, 0.1], "PixelAspectRatio": [1, 2]}, "PixelSpacing and PixelAspectRatio contradict"),
        (
            [region(RegionSpatialFormat=3, RegionDataType=3)],
            {"PixelSpacing": [0.1, 0.1]},
            "none of the regions shows tissue in a plane",
        ),
        ([region(0, 0, 79, 59), region(10, 10, 30, 30, mm=0.4)], {}, "the regions state no common one"),
        ([region(0, 0, 50, 59), region(30, 0, 79, 59, mm=0.4)], {}, "the regions state no common one"),
    ],
)
def test_no_millimetres_where_statements_differ(
    tmp_path: Path, regions: list[Any], elements: dict[str, Any], reason: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", PICTURE, regions, **elements)
    header = read_image_header(path)
    assert header.spacing is None and header.spacing_from.startswith(f"unknown ({reason}")
    assert all(read_image(ref).spacing is None for ref in header.refs(path))


@pytest.mark.parametrize(
    ("regions", "elements", "spacing"),
    [
        ([region()], {"PixelSpacing": [0.2004, 0.2]}, 0.2),
        ([], {"PixelSpacing": [0.1, 0.1], "PixelAspectRatio": [1, 1]}, 0.1),
        ([region(0, 0, 79, 59), region(10, 10, 30, 30, RegionDataType=2)], {}, 0.2),
    ],
)
def test_millimetres_where_they_agree(
    tmp_path: Path, regions: list[Any], elements: dict[str, Any], spacing: float
) -> None:
    header = read_image_header(write_dicom(tmp_path / "a.dcm", PICTURE, regions, **elements))
    assert header.spacing == pytest.approx((spacing, spacing))


@pytest.mark.parametrize(
    ("frames", "elements", "named"),
    [
        (PICTURE, {"Columns": 79}, "4800 bytes of pixels; expected 4740"),  # would be read as a slanted picture
        (PICTURE, {"Rows": 30}, "4800 bytes of pixels; expected 2400"),
        (LOOP, {"NumberOfFrames": 2}, "19200 bytes of pixels; expected 9600"),
        (LOOP, {"NumberOfFrames": 9}, "cut short"),
        (PICTURE, {"BitsStored": 1}, "bits stored"),
        (PICTURE, {"HighBit": 6}, "bits stored"),
        (PICTURE, {"BitsStored": 0, "HighBit": -1}, "bits stored"),
        (PICTURE, {"PhotometricInterpretation": "RGB"}, "RGB with 1 values in a pixel"),
        (np.dstack([PICTURE] * 3), {"PhotometricInterpretation": "MONOCHROME2"}, "MONOCHROME2 with 3 values"),
    ],
)
def test_pixels_that_the_header_contradicts(
    tmp_path: Path, frames: np.ndarray, elements: dict[str, Any], named: str
) -> None:
    if elements.get("HighBit") == -1:
        elements = {"BitsStored": 0, "HighBit": 0}
    assert named in sentence(write_dicom(tmp_path / "a.dcm", frames, **elements))


def test_bits_above_those_that_are_stored_are_no_grey(tmp_path: Path) -> None:
    """As an overlay is stored in unused bits; a sum of both would wrap around."""
    deep = RNG.integers(0, 4096, (60, 80), dtype=np.uint16)
    kind: dict[str, Any] = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
    plain, overlaid = (
        write_dicom(tmp_path / f"{name}.dcm", PICTURE, PixelData=pixels.tobytes(), **kind)
        for name, pixels in (("a", deep), ("b", deep | 0x1000))
    )
    expected = np.round(deep / 4095 * 255)
    assert np.abs(read_image(plain).pixels - expected).max() <= 1
    assert np.array_equal(read_image(plain).pixels, read_image(overlaid).pixels)


@pytest.mark.parametrize(("stated", "named"), [(1, "of 4 frames, and it states 1"), (2, "and it states 2"), (9, "cut")])
def test_a_wrong_number_of_coded_frames(tmp_path: Path, stated: int, named: str) -> None:
    assert named in sentence(write_dicom(tmp_path / "a.dcm", LOOP, syntax=JPEG, NumberOfFrames=stated))


def test_wrong_tables_of_offsets_change_nothing(tmp_path: Path) -> None:
    """The length of a frame in such a table would be allocated, and a wrong offset gives another frame."""
    path = write_dicom(tmp_path / "a.dcm", LOOP, syntax=JPEG)
    expected = [read_image(ImageRef(path, index)).pixels for index in range(4)]
    table = write_dicom(
        tmp_path / "b.dcm",
        LOOP,
        syntax=JPEG,
        ExtendedOffsetTable=struct.pack("<4Q", 9, 8, 7, 6),
        ExtendedOffsetTableLengths=struct.pack("<4Q", 1 << 62, 1, 1 << 40, 0),
    )
    data = bytearray(path.read_bytes())
    at = data.index(b"\xfe\xff\x00\xe0\x10\0\0\0") + 8  # the Basic Offset Table
    first, second, *others = struct.unpack_from("<4L", data, at)
    struct.pack_into("<4L", data, at, second, first, *others)
    (tmp_path / "c.dcm").write_bytes(data)
    for file in (table, tmp_path / "c.dcm"):
        records = list(read_loop(ImageRef(file)))
        for index, record in enumerate(records):
            assert not isinstance(record, DataError) and np.array_equal(record.pixels, expected[index])
            assert np.array_equal(read_image(ImageRef(file, index)).pixels, expected[index])


def test_the_fragments_of_a_file_are_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dicom(tmp_path / "a.dcm", LOOP, syntax=RLE)
    counted = Mock(side_effect=frames_of)
    monkeypatch.setattr("sonoseg.io.readers.dicom.opened.frames_of", counted)
    for record, expected in zip(read_frames([ImageRef(path, index) for index in range(4)]), LOOP, strict=True):
        assert not isinstance(record, DataError) and np.array_equal(record.pixels, expected)
    assert counted.call_count == 1


def test_thousands_of_fragments_take_no_time() -> None:
    """As many as offsets: each was compared with a table that was made anew, which took the square of their number."""
    number = 20_000
    table = struct.pack(f"<HHL{number}L", 0xFFFE, 0xE000, 4 * number, *range(0, 8 * number, 8))
    fragments = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * number
    begin = time.process_time()
    with pytest.raises(WrongFragments, match="do not tell where a frame begins"):
        frames_of(io.BytesIO(table + fragments), 2, is_rle=False)
    assert time.process_time() - begin < 2


def test_frames_of_several_fragments(tmp_path: Path) -> None:
    """With a table of offsets, and without one by the beginnings of the pictures."""
    from pydicom.encaps import encapsulate

    pictures = [picture_file(frame, "JPEG", quality=95) for frame in LOOP]
    path = write_dicom(tmp_path / "a.dcm", LOOP, syntax=JPEG)
    for has_table in (True, False):
        coded = encapsulate(pictures, fragments_per_frame=3, has_bot=has_table)
        write_dicom(path, LOOP, syntax=JPEG, PixelData=coded)
        for index, coded in enumerate(pictures):
            expected = np.array(Image.open(io.BytesIO(coded)))
            assert np.array_equal(read_image(ImageRef(path, index)).pixels, expected)


@pytest.mark.parametrize(
    ("kind", "syntax", "options"),
    [
        ("JPEG", JPEG, {}),
        ("JPEG", LOSSLESS, {}),
        ("JPEG2000", JPEG_2000, {}),
        ("JPEG2000", JPEG_2000, {"no_jp2": True}),
    ],
)
def test_the_size_in_a_coded_frame_is_known_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, syntax: str, options: dict[str, Any]
) -> None:
    monkeypatch.setattr("sonoseg.io.readers.dicom.decode._decode", lambda *_: pytest.fail("it was decoded"))
    coded = picture_file(np.zeros((300, 200), np.uint8), kind, **options)
    path = with_pixels(write_dicom(tmp_path / "a.dcm", PICTURE), [coded], syntax)
    assert "a frame of another size than the file declares" in sentence(path)


def test_a_run_length_bomb_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonoseg.io.readers.dicom.decode._decode", lambda *_: pytest.fail("it was decoded"))
    coded = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 1000
    path = with_pixels(write_dicom(tmp_path / "a.dcm", PICTURE), [coded], RLE)
    assert "a frame of another size than the file declares" in sentence(path)


@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL_422"])
def test_the_colours_of_a_jpeg_are_those_that_it_states_itself(tmp_path: Path, stated: str) -> None:
    """Many files state RGB and have the JPEG of a camera, which is YCbCr."""
    red = np.zeros((60, 80, 3), np.uint8)
    red[..., 0] = 255
    path = write_dicom(tmp_path / "a.dcm", red)
    with_pixels(path, [picture_file(red, "JPEG")], JPEG, PhotometricInterpretation=stated)
    assert abs(int(read_image(path).pixels.mean()) - 76) <= 1  # its luma


@pytest.mark.parametrize(("version_bytes", "end"), [(2, b""), (4000, b""), (2, b"\0\0")])
def test_a_deflated_file_is_never_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version_bytes: int, end: bytes
) -> None:
    """Wherever the transfer syntax is, and however it is padded."""
    monkeypatch.setattr("zlib.decompress", lambda *_: pytest.fail("it was inflated"))
    monkeypatch.setattr("pydicom.filereader.zlib.decompress", lambda *_: pytest.fail("it was inflated"))
    syntax = b"1.2.840.10008.1.2.1.99" + end
    meta = b"\x02\0\x01\0OB\0\0" + struct.pack("<L", version_bytes) + bytes(version_bytes)
    meta += b"\x02\0\x10\0UI" + struct.pack("<H", len(syntax)) + syntax
    meta = b"\x02\0\0\0UL\x04\0" + struct.pack("<L", len(meta)) + meta
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(128) + b"DICM" + meta + packer.compress(bytes(1000)) + packer.flush())
    assert "deflated" in sentence(path)


def test_headers_that_take_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [region(index % 70, index // 70, index % 70 + 1, index // 70 + 1) for index in range(101)]
    path = write_dicom(tmp_path / "a.dcm", PICTURE, items)
    assert "101 regions; at most 100 are read" in sentence(path)
    monkeypatch.setattr("sonoseg.io.readers.dicom.header._MOST_REGION_BYTES", 10_000)
    assert "far more than a device states" in sentence(path)
    monkeypatch.setattr("sonoseg.io.readers.dicom.opened._MOST_BYTES", 10_000)
    assert "header is far larger" in sentence(path)
    plain = write_dicom(tmp_path / "b.dcm", PICTURE)
    assert sentence(plain) == ""
    monkeypatch.setattr("sonoseg.io.readers.dicom.opened._MOST_READS", 20)
    assert "header is far larger" in sentence(plain)


def test_nothing_of_a_header_is_in_a_sentence(tmp_path: Path) -> None:
    """Wherever the text is, also in place of a number."""
    raw = write_dicom(tmp_path / "a.dcm", PICTURE, NumberOfFrames=1).read_bytes()
    fields = [0x0002, 0x0004, 0x0008, 0x0010, 0x0011, 0x0100, 0x0101, 0x0102, 0x0103]
    found = set()
    for element in fields:
        at = raw.index(struct.pack("<HH", 0x0028, element))
        length = struct.unpack_from("<H", raw, at + 6)[0]
        (tmp_path / "b.dcm").write_bytes(raw[: at + 4] + b"LO\x0a\0SECRETTEXT" + raw[at + 8 + length :])
        found.add(sentence(tmp_path / "b.dcm"))
    at = raw.index(b"1.2.840.10008.1.2.1\0")
    (tmp_path / "b.dcm").write_bytes(raw[:at] + b"9.9.SECRETTEXT.1\0\0\0\0" + raw[at + 20 :])
    found.add(sentence(tmp_path / "b.dcm"))
    assert len(found) > 4 and not [text for text in found if "SECRET" in text]


@pytest.mark.parametrize(
    ("elements", "seconds"),
    [
        ({"FrameTimeVector": [0, 33.0, 34.0, 33.0]}, 0.1 / 3),
        ({"FrameTimeVector": [0, 33.0, 500.0, 33.0]}, None),  # no rate gives the times of its frames
        ({"FrameTimeVector": [33.0]}, None),
        ({"FrameTime": 1e-9}, None),
        ({"FrameTime": 1e12}, None),
    ],
)
def test_times_between_frames(tmp_path: Path, elements: dict[str, Any], seconds: float | None) -> None:
    path = write_dicom(tmp_path / "a.dcm", LOOP, **{"FrameTime": None, **elements})
    assert read_image_header(path).frame_seconds == (seconds and pytest.approx(seconds))


def test_a_video_with_more_frames_than_it_states(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", LOOP)
    data = bytearray(path.read_bytes())
    for at in (data.index(b"avih") + 24, data.index(b"strh") + 40):
        struct.pack_into("<L", data, at, 2)
    path.write_bytes(data)
    assert read_image_header(path).frames == 2 and len(list(read_loop(ImageRef(path)))) == 4
    with pytest.raises(DataError, match="more than 3 frames"):
        list(read_loop(ImageRef(path), ReadLimits(max_frames=3)))


def test_a_video_whose_pixels_are_not_square(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", LOOP)
    data = path.read_bytes()
    at = data.index(b"stsd")
    entry = data.index(b"mp4v", at) - 4
    (length,) = struct.unpack_from(">L", data, entry)
    ratio = struct.pack(">L4sLL", 16, b"pasp", 16, 15)
    changed = bytearray(data[: entry + length] + ratio + data[entry + length :])
    for box in (b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        place = data.index(box) - 4
        struct.pack_into(">L", changed, place, struct.unpack_from(">L", data, place)[0] + 16)
    struct.pack_into(">L", changed, entry, length + 16)
    path.write_bytes(changed)
    assert "its pixels are not square (16:15)" in sentence(path)


def test_a_video_without_a_constant_rate(tmp_path: Path) -> None:
    """All frames are there, and then it is said that their times are not."""
    path = write_video(tmp_path / "a.mp4", np.stack([PICTURE] * 12))
    data = path.read_bytes()
    at = data.index(b"stts")
    (step,) = struct.unpack_from(">L", data, at + 16)
    times = struct.pack(">7L", 3, 4, step, 4, 9 * step, 4, step)
    changed = bytearray(data[: at + 8] + times + data[at + 20 :])
    for box in (b"stts", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        place = data.index(box) - 4
        struct.pack_into(">L", changed, place, struct.unpack_from(">L", data, place)[0] + 16)
    path.write_bytes(changed.replace(b"edts", b"free"))
    records = read_loop(ImageRef(path))
    for _ in range(12):
        assert not isinstance(next(records), DataError)
    with pytest.raises(DataError, match="not evenly spaced in time"):
        next(records)


def test_a_video_is_a_file_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg takes a name with a colon for a protocol."""
    write_video(tmp_path / "a.mp4", LOOP).rename(tmp_path / "concat:a.mp4")
    monkeypatch.chdir(tmp_path)
    assert read_image_header(Path("concat:a.mp4")).frames == 4
