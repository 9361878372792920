"""A real Orthanc on loopback, with a configuration of its own; `make test-orthanc` installs it and runs these tests."""

import email
import email.policy
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.dicom.node.conftest import free_port

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass(frozen=True)
class Orthanc:
    """An archive: DICOM and HTTP ports, and the port at which it expects the node SONOSEG."""

    dicom: int
    http: int
    node: int

    def call(self, path: str, body: bytes | None = None) -> Any:
        """Return the JSON answer of its REST interface: GET, or POST with a body."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def multipart(self, path: str) -> list[bytes]:
        """Return the DICOM files of a DICOMweb answer (WADO-RS)."""
        accept = {"Accept": 'multipart/related; type="application/dicom"'}
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", headers=accept)
        with urllib.request.urlopen(request, timeout=60) as answer:
            head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
            message = email.message_from_bytes(head + answer.read(), policy=email.policy.HTTP)
        return [bytes(part.get_payload(decode=True)) for part in message.iter_parts()]

    def upload(self, file: Path) -> str:
        return str(self.call("/instances", file.read_bytes())["ID"])

    def send_to_node(self, instances: list[str]) -> None:
        body = {"Resources": instances, "Synchronous": True, "Timeout": 20}
        self.call("/modalities/sonoseg/store", json.dumps(body).encode())

    def results(self) -> list[dict[str, Any]]:
        """Return the main tags of the instances whose series SonoSeg has made."""
        series = [self.call(f"/series/{name}") for name in self.call("/series")]
        return [
            {**one["MainDicomTags"], "ID": instance}
            for one in series
            if one["MainDicomTags"].get("SeriesDescription", "").startswith("SonoSeg")
            for instance in one["Instances"]
        ]


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    if not os.environ.get("SONOSEG_ORTHANC"):
        pytest.skip("a real Orthanc is needed; run: make test-orthanc")
    program = shutil.which("Orthanc")
    assert program, "Orthanc is not installed; on Debian: apt-get install orthanc orthanc-dicomweb dcmtk"
    archive = Orthanc(free_port(), free_port(), free_port())
    settings = {
        "Name": "test",
        "StorageDirectory": str(tmp_path / "archive"),
        "IndexDirectory": str(tmp_path / "archive"),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpPort": archive.http,
        "HttpBindAddresses": ["127.0.0.1"],
        "DicomAet": "ORTHANC",
        "DicomPort": archive.dicom,
        "DicomBindAddresses": ["127.0.0.1"],
        "DicomModalities": {"sonoseg": ["SONOSEG", "127.0.0.1", archive.node]},
        "OverwriteInstances": False,
        "Plugins": [str(DICOMWEB)] if DICOMWEB.exists() else [],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (tmp_path / "archive").mkdir()
    configuration = tmp_path / "orthanc.json"
    configuration.write_text(json.dumps(settings))
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(configuration)], stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                archive.call("/system")
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "orthanc.log").read_text()
                time.sleep(0.05)
        yield archive
    finally:
        process.terminate()
        process.wait(30)
