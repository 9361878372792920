"""Check 15: a small file that declares a huge picture, or many, is refused from its header, in little memory.

Of DICOM see check 38; PNG and TIFF declare frames as well.
"""

import json
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from sonoseg.errors import DataError
from sonoseg.io.limits import MAX_FRAMES, MAX_PIXELS, ReadLimits
from sonoseg.io.readers import read_image, read_image_header
from tests.conftest import REPOSITORY
from tests.trust.conftest import Segmented

SIDE = 30_000
ROOM_MB = 200
"""What reading may take on top of the libraries; decoded, the picture would need 900."""

READER = """
import json, resource, sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
import numpy, PIL.Image
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
from sonoseg.errors import DataError
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image, read_image_header

now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
room = now + int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (room, room))
said = {}
for name in sys.argv[2:]:
    for read in (read_image_header, read_image, read_mask):
        try:
            read(Path(name))
            said[name, read.__name__] = "taken"
        except DataError as error:
            said[name, read.__name__] = str(error)
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmPeak")).split()[1]) * 1024
print(json.dumps({"said": [[*key, text] for key, text in said.items()], "grew_mb": (peak - now) / 2**20}))
"""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, deep: bool = False) -> bytes:
    """A PNG of about 40 kB: a whole file, whose pixels are all the same."""
    packed = zlib.compressobj(9)
    row = b"\0" * (1 + width * (2 if deep else 1))
    pixels = b"".join([packed.compress(row) for _ in range(min(height, 1300))]) + packed.flush()
    header = struct.pack(">IIBBBBB", width, height, 16 if deep else 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def patched(path: Path, kind: str, old: bytes, new: bytes) -> None:
    """A small valid picture of 200x100 pixels whose header is made to declare more."""
    Image.fromarray(np.zeros((100, 200), np.uint8)).save(path, kind)
    data = path.read_bytes()
    assert data.count(old) >= 1
    path.write_bytes(data.replace(old, new, 1))


@pytest.fixture
def oversized(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(SIDE, SIDE))
    (folder / "deep.png").write_bytes(png(SIDE, SIDE, deep=True))
    patched(folder / "b.jpg", "JPEG", struct.pack(">HH", 100, 200), struct.pack(">HH", SIDE, SIDE))
    patched(folder / "c.bmp", "BMP", struct.pack("<ii", 200, 100), struct.pack("<ii", SIDE, SIDE))
    Image.fromarray(np.zeros((100, 200), np.uint8)).save(folder / "d.tif", "TIFF")
    data = (folder / "d.tif").read_bytes()
    for number, small in ((256, 200), (257, 100)):
        for code in (3, 4):
            old = struct.pack("<HHI", number, code, 1) + struct.pack("<I", small)
            data = data.replace(old, struct.pack("<HHII", number, 4, 1, SIDE))
    (folder / "d.tif").write_bytes(data)
    return sorted(folder.iterdir())


def test_little_memory(oversized: list[Path]) -> None:
    assert SIDE * SIDE > MAX_PIXELS and all(path.stat().st_size < 200_000 for path in oversized)
    command = [sys.executable, "-c", READER, str(ROOM_MB), *map(str, oversized)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(found["said"]) == 3 * len(oversized) and found["grew_mb"] < ROOM_MB / 2
    for name, read, said in found["said"]:
        sizes = f"{SIDE}x{SIDE} pixels declared; at most {MAX_PIXELS} are decoded"
        assert said == f"{name}: {sizes}; raise the limit if the image is right", read


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Limits the memory, so that a picture that is decoded after all fails the test only."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + 4 * ROOM_MB * 2**20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("little_memory")
def test_the_batch_goes_on(segmented: Segmented, oversized: list[Path], tmp_path: Path, scene: np.ndarray) -> None:
    Image.fromarray(scene).save(oversized[0].with_name("good.png"))
    code, rows = segmented(oversized[0].parent, tmp_path / "out")
    assert code == 1 and rows["good.png"]["status"] == "ok" and len(rows) == len(oversized) + 1
    assert all(f"{SIDE}x{SIDE} pixels declared" in rows[path.name]["reason"] for path in oversized)


def test_a_million_frames(segmented: Segmented, tmp_path: Path, scene: np.ndarray) -> None:
    """An animated PNG states its number of frames in its header."""
    images = tmp_path / "new"
    images.mkdir()
    Image.fromarray(scene).save(images / "a.png")
    whole, end_of_header = (images / "a.png").read_bytes(), 8 + 25
    animation = chunk(b"acTL", struct.pack(">II", 10**6, 0))
    (images / "a.png").write_bytes(whole[:end_of_header] + animation + whole[end_of_header:])
    code, rows = segmented(images, tmp_path / "out")
    assert code == 1 and len(rows) == 1 and rows["a.png"]["frame"] == ""
    assert f"more than {MAX_FRAMES} frames" in rows["a.png"]["reason"]
    with pytest.raises(DataError, match="expected a single picture"):
        read_image(images / "a.png")
    with pytest.raises(DataError, match=f"more than {MAX_FRAMES} frames"):
        read_image_header(images / "a.png")


def test_frames_of_a_tiff_are_counted_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, visited = tmp_path / "a.tif", []
    pictures = [Image.fromarray(np.zeros((10, 20), np.uint8)) for _ in range(100)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    real = TiffImagePlugin.ImageFileDirectory_v2.load

    def load(directory: TiffImagePlugin.ImageFileDirectory_v2, *arguments: Any) -> Any:
        visited.append(1)
        return real(directory, *arguments)

    monkeypatch.setattr(TiffImagePlugin.ImageFileDirectory_v2, "load", load)
    with pytest.raises(DataError, match="expected a single picture"):
        read_image(path)
    assert len(visited) < 10
    visited.clear()
    with pytest.raises(DataError, match=r"a\.tif: more than 5 frames"):
        read_image_header(path, ReadLimits(max_frames=5))
    assert len(visited) < 20
