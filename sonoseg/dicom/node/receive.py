"""Images in: a C-STORE and C-ECHO provider (pynetdicom)."""

import logging
import shutil
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

from sonoseg.dicom.node.settings import NodeSettings, Tls
from sonoseg.dicom.node.spool import Spool
from sonoseg.errors import MachineError, UsageError

IMAGE_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.6.1",  # Ultrasound Image
    "1.2.840.10008.5.1.4.1.1.3.1",  # Ultrasound Multi-frame Image
    "1.2.840.10008.5.1.4.1.1.6",  # the retired ones of both
    "1.2.840.10008.5.1.4.1.1.3",
)
"""SOP classes that are taken. Secondary captures are not: an archive that forwards all it gets would send ours back."""
TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first order
    "1.2.840.10008.1.2.4.80",  # JPEG-LS
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",  # JPEG 2000
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",  # RLE
)
_VERIFICATION = "1.2.840.10008.1.1"
SUCCESS, OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
"""Statuses of C-STORE, DICOM PS3.4, B.2.3."""
_FREE_BYTES = 2**28
"""Least free space of the spool's disk; below it images are refused, and their senders keep them."""
_TIMEOUT_SECONDS = 60
_MOST_PDU_BYTES = 1 << 20
"""Of one message part (PDU), of which senders are asked to keep below 16 kB; it is in memory until it is complete."""


def start_receiver(settings: NodeSettings, spool: Spool, arrived: Callable[[], None]) -> Any:
    """Start to listen in threads of its own; return pynetdicom's server, which is ended with `shutdown`.

    arrived: called after each new image. Raises MachineError when the port cannot be had.
    """
    from pynetdicom import AE, _config, evt

    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # its messages contain values of headers
    _config.STORE_RECV_CHUNKED_DATASET = True  # to the disk as it arrives, and not to memory
    tempfile.tempdir = str(spool.incoming)  # where pynetdicom writes it: a rename within a disk is atomic
    entity = AE(ae_title=settings.ae)
    entity.supported_contexts = []
    entity.add_supported_context(_VERIFICATION)
    for uid in IMAGE_CLASSES:
        entity.add_supported_context(uid, list(TRANSFER_SYNTAXES))
    entity.maximum_associations = settings.max_associations
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_SECONDS
    entity.require_called_aet = True
    entity.require_calling_aet = list(settings.callers)
    counter = _ByteCounter(settings.max_bytes)
    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, _limit),
        (evt.EVT_C_STORE, _store, [settings, spool, counter, arrived]),
        (evt.EVT_DATA_RECV, counter.count),
        (evt.EVT_CONN_CLOSE, counter.forget),
        (evt.EVT_CONN_CLOSE, _remove_partial),
        (evt.EVT_CONN_CLOSE, _free_place),
    ]
    address = (settings.host, settings.port)
    context = server_context(settings.tls) if settings.tls else None
    try:
        server: Any = entity.make_server(
            address, evt_handlers=handlers, ssl_context=context, server_class=_server_class()
        )
    except OSError as error:
        raise MachineError(
            f"{settings.host}:{settings.port}: {error.strerror or error}; choose another address or port"
        ) from None
    entity._servers.append(server)  # as `start_server` does; `shutdown` removes it
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def _server_class() -> Any:
    """Return pynetdicom's server of associations in threads, whose TLS handshakes do not keep others waiting."""
    from pynetdicom.transport import ThreadedAssociationServer

    class Server(ThreadedAssociationServer):
        def get_request(self) -> Any:
            assert self.socket is not None
            client, address = self.socket.accept()
            client.settimeout(_TIMEOUT_SECONDS)  # the handshake is part of the first read, in the client's thread
            if self.ssl_context:
                try:
                    client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
                except OSError:
                    client.close()
                    raise
            return client, address

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of a client that has gone away."""

    return Server


def _limit(event: Any) -> None:
    """Take from a new connection no message part that is larger, or arrives more slowly, than senders' are."""
    stream = event.assoc.dul.socket

    def receive(count: int) -> bytearray:
        if count > _MOST_PDU_BYTES:
            raise OSError("too large")
        end, data = time.monotonic() + _TIMEOUT_SECONDS, bytearray()
        while len(data) < count:
            if time.monotonic() > end:
                raise TimeoutError
            part = stream.socket.recv(min(count - len(data), 1 << 16))
            if not part:
                break
            data += part
        return data

    stream.recv = receive


def _free_place(event: Any) -> None:
    """Free the place of a connection that has ended without a request, as a monitor of ports makes them.

    pynetdicom would wait for the request until its timeout.
    """
    queue = event.assoc.dul.to_user_queue
    if event.assoc.requestor.primitive is None and queue.empty():
        queue.put(None)


def _remove_partial(event: Any) -> None:
    """Remove the file of an image whose connection ended before it was complete."""
    file = getattr(getattr(event.assoc.dimse, "message", None), "_data_set_path", None)
    if isinstance(file, Path):
        file.unlink(missing_ok=True)


class _ByteCounter:
    """Ends an association whose image is larger than what is taken, while it arrives."""

    def __init__(self, max_bytes: int):
        self._max_bytes, self._bytes = max_bytes, dict[int, int]()

    def count(self, event: Any) -> None:
        total = self._bytes.get(id(event.assoc), 0) + len(event.data)
        self._bytes[id(event.assoc)] = total
        if total > self._max_bytes:
            event.assoc.abort()

    def forget(self, event: Any) -> None:
        self._bytes.pop(id(event.assoc), None)


def _store(event: Any, settings: NodeSettings, spool: Spool, counter: _ByteCounter, arrived: Callable[[], None]) -> int:
    """Take over an image that has arrived; the status is answered after it is on the disk and recorded."""
    counter.forget(event)
    file = Path(event.dataset_path)
    try:
        if shutil.disk_usage(spool.folder).free < _FREE_BYTES:
            return OUT_OF_RESOURCES
        uid = _instance_uid(file)
        if uid is None:
            return CANNOT_UNDERSTAND
        if uid != str(event.request.AffectedSOPInstanceUID):
            return DOES_NOT_MATCH
        if spool.receive(file, uid):
            arrived()
        return SUCCESS
    except Exception:  # whatever it was, the sender keeps its image
        return OUT_OF_RESOURCES
    finally:
        file.unlink(missing_ok=True)


def _instance_uid(file: Path) -> str | None:
    """Return the SOP Instance UID of a file, None when it cannot be read."""
    import pydicom

    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
        return str(dataset.SOPInstanceUID)
    except Exception:
        return None


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return the TLS context of a server. Raises UsageError for files that are no certificate or key."""
    return _context(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), tls)


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return the TLS context of a client. Raises UsageError for files that are no certificate or key."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.check_hostname = False  # certificates of DICOM devices seldom name their host
    return _context(context, tls)


def _context(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.ca:
            context.load_verify_locations(tls.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        raise UsageError(f"{tls.certificate}, {tls.key}: {error}; expected a certificate and its key") from None
    return context
