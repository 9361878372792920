"""MetaImage and NIfTI files, written byte by byte as their specifications have it."""

import gzip
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MET = {"uint8": "MET_UCHAR", "int16": "MET_SHORT", "uint16": "MET_USHORT", "float32": "MET_FLOAT"}
CODES = {"uint8": 2, "int16": 4, "uint16": 512, "float32": 16}


def meta_image(path: Path, values: np.ndarray, spacing: Sequence[float] = (), packed: bool = False) -> Path:
    """Write `(..., H, W)`; spacing: along x, y, ... A file named .mhd has its values beside it."""
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    data = zlib.compress(data) if packed else data
    beside = path.with_suffix(".zraw" if packed else ".raw") if path.suffix == ".mhd" else None
    lines = {
        "ObjectType": "Image",
        "NDims": values.ndim,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": packed,
        **({"ElementSpacing": " ".join(map(str, spacing))} if spacing else {}),
        "DimSize": " ".join(map(str, values.shape[::-1])),
        "ElementType": MET[values.dtype.name],
        "ElementDataFile": beside.name if beside else "LOCAL",
    }
    header = "".join(f"{name} = {value}\n" for name, value in lines.items()).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    if beside:
        beside.write_bytes(data)
    path.write_bytes(header if beside else header + data)
    return path


def nifti(path: Path, values: np.ndarray, spacing: Sequence[float] = (), units: int = 10, order: str = "<") -> Path:
    """Write `(..., H, W)` as NIfTI-1; units: 2 for mm, 8 for seconds."""
    header = bytearray(352)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, values.ndim, *values.shape[::-1], *[1] * (7 - values.ndim))
    struct.pack_into(f"{order}2h", header, 70, CODES[values.dtype.name], 8 * values.dtype.itemsize)
    struct.pack_into(f"{order}8f", header, 76, 1, *spacing, *[1] * (7 - len(spacing)))
    struct.pack_into(f"{order}3f", header, 108, 352, 0, 0)
    header[123], header[344:348] = units, b"n+1\0"
    data = bytes(header) + values.astype(values.dtype.newbyteorder(order)).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path
