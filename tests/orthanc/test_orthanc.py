"""From a real archive through the node and back, also when the node is killed again and again."""

import random
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path

import pytest

from sonoseg.io.readers import list_images, read_image
from sonoseg.phantom.__main__ import main as simulate
from tests.conftest import REPOSITORY
from tests.dicom_files import region_item, write_dicom
from tests.orthanc.conftest import Orthanc

pydicom = pytest.importorskip("pydicom")

TASK = "spine_realtime"
KINDS = {"SEG", "SR", "OT"}
"""Modalities of the three objects that come back for an image; OT: the capture."""
KILLS, LEAST_MET = 20, 15
"""Kills of the node, and how many of them have to meet one that was receiving, processing or sending."""


def start_node(archive: Orthanc, spool: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sonoseg", "dicom-node", "--task", TASK, "--spool", str(spool)]
    command += ["--port", str(archive.node), "--send", f"ORTHANC@127.0.0.1:{archive.dicom}", "--allow", "ORTHANC"]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def phantoms(folder: Path, images: int) -> list[Path]:
    """Write simulated images as DICOM, each of a patient of its own."""
    simulate(["--out", str(folder / "phantoms"), "--images", str(images), "--size-scale", "0.5"])
    files = []
    for number, path in enumerate(list_images(folder / "phantoms" / "images"), start=1):
        pixels = read_image(path).pixels
        region = region_item(0, 0, pixels.shape[1] - 1, pixels.shape[0] - 1, (0.3, 0.3))
        patient = {"PatientID": f"P{number}", "PatientName": f"Doe^{number}", "StudyInstanceUID": f"1.2.3.4.{number}"}
        uids = {"SOPInstanceUID": f"1.2.3.4.{number}.5.6", "SeriesInstanceUID": f"1.2.3.4.{number}.5"}
        files.append(write_dicom(folder / f"{number}.dcm", pixels, [region], **patient, **uids))
    return files


def send_until_taken(archive: Orthanc, instances: list[str], seconds: float) -> None:
    """Send as an archive does: what was not taken, for whatever reason, is sent again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            archive.send_to_node(instances)
            return
        except OSError:  # also an HTTP error: the node refused them or was killed
            time.sleep(0.2)
    raise AssertionError("the node has not taken the images")


def wait_until_it_listens(node: subprocess.Popen[bytes], port: int, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert node.poll() is None and time.monotonic() < end, "the node does not listen"
        time.sleep(0.02)


def unfinished(spool: Path) -> str:
    """Return what a node was at when it was killed; empty where it had nothing to do."""
    with closing(sqlite3.connect(spool / "spool.sqlite")) as database:
        (waiting,) = database.execute("SELECT COUNT(*) FROM images WHERE state = 'received'").fetchone()
        (unsent,) = database.execute("SELECT COUNT(*) FROM results WHERE state = 'waiting'").fetchone()
    if any((spool / "incoming").iterdir()):
        return "receiving"
    return "processing" if waiting else "sending" if unsent else ""


def kill_at_work(archive: Orthanc, spool: Path, node: subprocess.Popen[bytes], instance: str, seconds: float) -> str:
    """Send an image to the node and kill it that long afterwards; return what it was at."""
    wait_until_it_listens(node, archive.node)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(archive.send_to_node, [instance])
        time.sleep(seconds)
        node.kill()
        node.wait()
        with suppress(OSError):  # also an HTTP error: the image was not taken, or its sender not told
            sending.result()
    return unfinished(spool)


def wait_for_results(archive: Orthanc, images: int, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while len(archive.results()) < images * len(KINDS):
        assert time.monotonic() < end, f"{len(archive.results())} results came back"
        time.sleep(0.5)
    time.sleep(2)  # for what would come twice


def check_results(archive: Orthanc, files: list[Path]) -> None:
    """Three objects per image, each once, of the image's own patient and study."""
    sources = {str(pydicom.dcmread(file).StudyInstanceUID): pydicom.dcmread(file) for file in files}
    per_study: Counter[str] = Counter()
    uids = set()
    for result in archive.results():
        tags = archive.call(f"/instances/{result['ID']}/simplified-tags")
        source = sources[tags["StudyInstanceUID"]]
        assert tags["PatientID"] == source.PatientID and tags["PatientName"] == str(source.PatientName)
        per_study[tags["StudyInstanceUID"] + tags["Modality"]] += 1
        uids.add(tags["SOPInstanceUID"])
    assert per_study == Counter({study + kind: 1 for study in sources for kind in KINDS})
    assert len(uids) == len(files) * len(KINDS)


@pytest.mark.parametrize("kills", [0, KILLS])
def test_from_the_archive_and_back(orthanc: Orthanc, tmp_path: Path, kills: int) -> None:
    files = phantoms(tmp_path, kills or 6)
    instances = [orthanc.upload(file) for file in files]
    spool, rng = tmp_path / "spool", random.Random(kills)
    node, met = start_node(orthanc, spool), []
    try:
        for instance in instances[:kills]:
            met.append(kill_at_work(orthanc, spool, node, instance, rng.uniform(0, 0.7)))
            node = start_node(orthanc, spool)
        print(Counter(met))
        assert sum(map(bool, met)) >= LEAST_MET * bool(kills), met
        send_until_taken(orthanc, instances, 60)
        wait_for_results(orthanc, len(files))
    finally:
        node.terminate()
        code = node.wait(60)
    assert code == 128 + 15
    check_results(orthanc, files)
    assert any(has_pixels_by_dicomweb(orthanc, file) for file in files[:3])


def has_pixels_by_dicomweb(archive: Orthanc, file: Path) -> bool:
    """Read an image's segmentation back and return whether a structure was found in it."""
    source = pydicom.dcmread(file)
    study = f"/dicom-web/studies/{source.StudyInstanceUID}"
    (series,) = archive.call(f"{study}/series?Modality=SEG")
    parts = archive.multipart(f"{study}/series/{series['0020000E']['Value'][0]}")
    (segmentation,) = (pydicom.dcmread(BytesIO(part)) for part in parts)
    assert (segmentation.Rows, segmentation.Columns) == (source.Rows, source.Columns)
    return bool(segmentation.pixel_array.any())
