"""Settings of the DICOM node."""

import re
from dataclasses import dataclass
from pathlib import Path

from sonoseg.errors import UsageError

_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_PEER = re.compile(r"(?P<ae>[^@]+)@(?P<host>\[[0-9a-fA-F:]+\]|[^:\[\]]+):(?P<port>\d{1,5})")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Peer:
    """A DICOM node that results are sent to."""

    ae: str
    host: str
    port: int


@dataclass(frozen=True)
class Tls:
    """Files in PEM format. ca: of the authorities whose certificates the other side must show; None: none is asked."""

    certificate: Path
    key: Path
    ca: Path | None = None


@dataclass(frozen=True)
class NodeSettings:
    """What a node is started with.

    spool: folder of the images that were received and their results. callers: AE titles that may send; empty: any.
    max_bytes: of one image. destination: where results are sent; None: they stay in the spool. tls: for what is
    received; send_tls: whether results are sent with it too. status_port: of the page with counts; None: no page.
    """

    spool: Path
    ae: str = "SONOSEG"
    host: str = "127.0.0.1"
    port: int = 11112
    callers: tuple[str, ...] = ()
    max_associations: int = 10
    max_bytes: int = 2**30
    destination: Peer | None = None
    tls: Tls | None = None
    send_tls: bool = False
    status_port: int | None = None

    def check(self) -> None:
        """Raise UsageError for a node that anybody in the network could send to, and for TLS without its files."""
        if self.host not in LOOPBACK and not self.callers:
            raise UsageError(
                f"address {self.host} can be reached from the network, and no caller is named; name the AE titles that "
                "may send"
            )
        if self.send_tls and self.tls is None:
            raise UsageError("results are to be sent by TLS; give a certificate and its key")
        for file in (self.tls.certificate, self.tls.key, self.tls.ca) if self.tls else ():
            if file is not None and not file.is_file():
                raise UsageError(f"{file}: no such file; expected a certificate or key in PEM format")


def parse_ae(text: str) -> str:
    """Return an AE title. Raises ValueError for one that DICOM does not allow: 1 to 16 characters, no backslash."""
    if not _AE_TITLE.fullmatch(text):
        raise ValueError(f"{text!r}: expected an AE title, 1 to 16 characters of ASCII without a backslash")
    return text


def parse_peer(text: str) -> Peer:
    """Return a peer given as `AE@host:port`, an IPv6 address in brackets. Raises ValueError for any other text."""
    match = _PEER.fullmatch(text)
    if not match or not 1 <= int(match["port"]) <= 65535:
        raise ValueError(f"{text!r}: expected AE@host:port, such as ORTHANC@127.0.0.1:4242")
    return Peer(parse_ae(match["ae"]), match["host"].strip("[]"), int(match["port"]))
