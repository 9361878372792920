"""Results out: C-STORE to an archive, in one association for all that is due."""

from collections.abc import Callable, Sequence
from typing import Any

from sonoseg.dicom.node.receive import client_context
from sonoseg.dicom.node.settings import NodeSettings
from sonoseg.dicom.node.spool import Result, Spool
from sonoseg.errors import is_machine_error

RESULT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
)
_TRANSFER_SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
_TIMEOUT_SECONDS = 30
_MOST_REFUSALS = 5
"""A result that the archive refuses so often is not offered again: the archive will not change its mind."""
_NO_RESOURCES = 0xA7
"""First digits of the statuses of an archive that has no space or memory at present, which is no refusal."""


def send_due(settings: NodeSettings, spool: Spool, stop: Callable[[], bool] = lambda: False) -> int:
    """Send the results that are due; return how many have arrived. What fails is tried again later, see `postpone`.

    stop: whether to end after the result that is being sent. Raises errors of the machine, such as too many open files.
    """
    due = spool.due_results()
    if not due or settings.destination is None:
        return 0
    association = _associate(settings)
    if not association.is_established:
        for result in due:
            spool.postpone(result, "no association with the destination")
        return 0
    try:
        return _send(association, due, spool, stop)
    finally:
        association.release()


def _send(association: Any, due: Sequence[Result], spool: Spool, stop: Callable[[], bool]) -> int:
    arrived = 0
    for result in due:
        if stop() or not association.is_established:  # the others are due still: none of them ended the association
            break
        try:
            status = association.send_c_store(result.path).get("Status")
        except Exception as error:
            if is_machine_error(error):  # behind the others: it may be this file that the disk cannot read
                spool.postpone(result, "a shortage of this machine")
                raise
            if isinstance(error, OSError):
                spool.refused(result, "its file is missing or cannot be read")
                continue
            status = None  # no context for its class, its file is no DICOM, or the association ended
        if status is not None and (status == 0x0000 or status >> 12 == 0xB):  # a warning: stored, something was coerced
            spool.sent(result)
            arrived += 1
        elif status is None:
            spool.postpone(result, "no answer")
        elif status >> 8 == _NO_RESOURCES:
            spool.postpone(result, f"status {status:04X}")
        elif result.refusals + 1 >= _MOST_REFUSALS:
            spool.refused(result, f"status {status:04X}")
        else:
            spool.postpone(result, f"status {status:04X}", is_refusal=True)
    return arrived


def _associate(settings: NodeSettings) -> Any:
    from pynetdicom import AE

    assert settings.destination is not None
    entity = AE(ae_title=settings.ae)
    for uid in RESULT_CLASSES:
        entity.add_requested_context(uid, _TRANSFER_SYNTAXES)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _TIMEOUT_SECONDS
    tls: Any = (client_context(settings.tls), None) if settings.send_tls and settings.tls else None
    peer = settings.destination
    return entity.associate(peer.host, peer.port, ae_title=peer.ae, tls_args=tls)
