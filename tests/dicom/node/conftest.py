"""An archive in this process, and nodes with a small task of their own in place of a model."""

import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonoseg.errors import DataError
from tests.dicom_files import write_dicom

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def process(image: Path, folder: Path) -> list[Path]:
    """Write a capture whose UID follows from the image's; a picture that begins with 13 cannot be processed."""
    import pydicom

    dataset = pydicom.dcmread(image)
    if dataset.pixel_array[0, 0] == 13:
        raise DataError("unlucky", image)
    path = folder / "capture.dcm"
    uid = f"{dataset.SOPInstanceUID}.7"
    return [write_dicom(path, np.zeros((8, 8, 3), np.uint8), SOPClassUID=CAPTURE, SOPInstanceUID=uid)]


class Archive:
    """Keeps the SOP Instance UIDs that it gets; `answer` is the status of C-STORE."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None):
        from pynetdicom import AE, evt

        self.got: Counter[str] = Counter()
        self.answer = 0x0000
        self.port = port
        entity = AE(ae_title="ARCHIVE")
        entity.add_supported_context(CAPTURE)
        self._server: Any = entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)], ssl_context=context
        )

    def _store(self, event: Any) -> int:
        if self.answer == 0:
            self.got[str(event.request.AffectedSOPInstanceUID)] += 1
        return self.answer

    def close(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server = None


@pytest.fixture
def archive() -> Iterator[Archive]:
    archive = Archive(free_port())
    yield archive
    archive.close()


def send(
    port: int, files: list[Path], ae: str = "SONOSEG", calling: str = "SCANNER", context: ssl.SSLContext | None = None
) -> list[int | None]:
    """Send files by C-STORE; return their statuses, None for one without an answer. Raises ConnectionError."""
    from pynetdicom import AE

    entity = AE(ae_title=calling)
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.6.1")
    entity.add_requested_context("1.2.840.10008.1.1")
    entity.connection_timeout = 5
    tls: Any = (context, None) if context else None
    association = entity.associate("127.0.0.1", port, ae_title=ae, tls_args=tls)
    if not association.is_established:
        raise ConnectionError
    statuses: list[int | None] = []
    try:
        for file in files:
            try:
                statuses.append(association.send_c_store(file).get("Status"))
            except RuntimeError:
                statuses.append(None)
        if not files:
            statuses.append(association.send_c_echo().get("Status"))
    finally:
        association.release()
    return statuses


def pictures(folder: Path, count: int, first: int = 0) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [
        write_dicom(folder / f"{index}.dcm", np.full((16, 16), index, np.uint8), SOPInstanceUID=f"1.2.3.{index + 1}")
        for index in range(first, first + count)
    ]
