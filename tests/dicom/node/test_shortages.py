"""The node beside others that misbehave: a full disk, an archive that refuses, clients that stall or send too much."""

import errno
import json
import logging
import os
import re
import socket
import sqlite3
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from sonoseg.dicom.node.receive import _store, client_context
from sonoseg.dicom.node.send import send_due
from sonoseg.dicom.node.serve import Node
from sonoseg.dicom.node.settings import NodeSettings, Peer, Tls
from sonoseg.dicom.node.spool import DATABASE, Spool, SpoolError, key_of
from sonoseg.dicom.node.status import start_status_page
from sonoseg.errors import DataError, MachineError, UsageError
from tests.dicom.node.conftest import Archive, free_port, pictures, process, send, wait_until
from tests.dicom.node.test_node import certificate, running
from tests.dicom.node.test_node import settings as settings  # a fixture
from tests.dicom.node.test_node import tls as tls
from tests.dicom_files import write_dicom


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool")
    spool._database.execute("PRAGMA busy_timeout = 20")
    yield spool
    spool.close()


def waiting(spool: Spool, folder: Path, count: int) -> list[str]:
    """Let results of so many images wait in a spool; return the UIDs that the archive will get."""
    for index, file in enumerate(pictures(folder, count)):
        key = key_of(f"1.2.3.{index + 1}")
        assert spool.receive(file, f"1.2.3.{index + 1}")
        (spool.results / key).mkdir()
        spool.complete(key, process(spool.image(key), spool.results / key), to_send=True)
    return [f"1.2.3.{index + 1}.7" for index in range(count)]


def now(spool: Spool) -> None:
    """Let no time pass until a result is offered again."""
    spool._database.execute("UPDATE results SET due_at = 0")


def test_a_loop_that_was_in_progress_when_the_node_was_killed(tmp_path: Path) -> None:
    """Its frames are in a folder beside the images that arrive."""
    Spool(tmp_path).close()
    (tmp_path / "incoming" / "sonoseg-abc").mkdir()
    (tmp_path / "incoming" / "sonoseg-abc" / "overlay.mp4").write_bytes(b"half")
    Spool(tmp_path).close()
    assert not list((tmp_path / "incoming").iterdir())


def test_one_node_for_a_spool(spool: Spool) -> None:
    with pytest.raises(UsageError, match="is in use by process"):
        Spool(spool.folder)


def test_a_node_that_cannot_listen_leaves_its_spool_to_others(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(MachineError):
            Node(NodeSettings(tmp_path, port=taken.getsockname()[1]), process)
    Spool(tmp_path).close()


def test_databases_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a" / DATABASE).mkdir(parents=True)
    with pytest.raises(MachineError, match="unable to open database file; free some space"):
        Spool(tmp_path / "a")
    for name, command, found in (
        ("b", "PRAGMA user_version = 99", "made by a newer version of SonoSeg"),
        ("c", "CREATE TABLE images (name TEXT)", "not a database of a node"),
    ):
        (tmp_path / name).mkdir()
        with sqlite3.connect(tmp_path / name / DATABASE) as database:
            database.execute(command)
        with pytest.raises(DataError, match=found):
            Spool(tmp_path / name)


def test_a_database_of_before_there_were_refusals(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    waiting(spool, tmp_path / "images", 1)
    spool._database.execute("ALTER TABLE results DROP COLUMN refusals")
    spool._database.execute("PRAGMA user_version = 0")
    spool.close()
    spool = Spool(tmp_path)
    (result,) = spool.due_results()
    spool.postpone(result, "status C000", is_refusal=True)
    now(spool)
    assert spool.due_results()[0].refusals == 1
    spool.close()


def test_a_change_is_made_as_a_whole_or_not_at_all(spool: Spool, tmp_path: Path) -> None:
    (file,) = pictures(tmp_path / "images", 1)
    spool.receive(file, "1.2.3.1")
    other = sqlite3.connect(spool.folder / DATABASE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolError, match=r"spool\.sqlite: database is locked; free some space"):
        spool.complete(key_of("1.2.3.1"), [spool.results / "a"], to_send=True)
    other.execute("ROLLBACK")
    with pytest.raises(ValueError):  # the second path is not in the spool
        spool.complete(key_of("1.2.3.1"), [spool.results / "a", tmp_path / "b"], to_send=True)
    assert spool.counts()["results_waiting"] == 0 and spool.counts()["waiting"] == 1
    spool.complete(key_of("1.2.3.1"), [spool.results / "a"], to_send=True)
    assert spool.counts()["results_waiting"] == 1 and spool.counts()["processed"] == 1


def test_an_image_that_is_completed_twice_is_sent_once(spool: Spool, tmp_path: Path) -> None:
    waiting(spool, tmp_path / "images", 1)
    (result,) = spool.due_results()
    spool.sent(result)
    spool.complete(result.key, [result.path], to_send=True)
    assert not spool.due_results() and spool.counts()["results_sent"] == 1


def test_a_database_that_is_locked_for_a_while(
    tmp_path: Path, settings: NodeSettings, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sonoseg.dicom.node.serve._SHORTAGE_SECONDS", 0.05)
    with running(settings) as (node, said):
        node.spool._database.execute("PRAGMA busy_timeout = 20")
        other = sqlite3.connect(settings.spool / DATABASE, isolation_level=None, check_same_thread=False)
        begin = node.spool.begin_next

        def begin_and_lock() -> str | None:
            key = begin()
            if key and not other.in_transaction:
                other.execute("BEGIN IMMEDIATE")
                threading.Timer(0.3, other.rollback).start()
            return key

        monkeypatch.setattr(node.spool, "begin_next", begin_and_lock)
        assert send(settings.port, pictures(tmp_path / "images", 1)) == [0x0000]
        wait_until(lambda: node.spool.counts()["results_sent"] == 1)
    assert archive.got == {"1.2.3.1.7": 1}
    assert any("database is locked" in line and line.endswith("trying again") for line in said)
    assert said[-1] == f"{key_of('1.2.3.1')}: 1 results"


def test_an_image_that_the_machine_has_prevented_waits_behind_the_others(
    tmp_path: Path, settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stage 4 reports such an error as MachineError, in which the error of the system is no more."""
    monkeypatch.setattr("sonoseg.dicom.node.serve._SHORTAGE_SECONDS", 0.05)
    short = [key_of("1.2.3.1")] * 5  # more often than an image may end the program

    def process_or_not(image: Path, folder: Path) -> list[Path]:
        if image.stem in short:
            short.pop()
            raise MachineError(f"{image}: Too many open files; close other programs")
        return process(image, folder)

    monkeypatch.setattr("tests.dicom.node.test_node.process", process_or_not)
    spool = Spool(settings.spool)
    for index, file in enumerate(pictures(tmp_path / "images", 2)):
        spool.receive(file, f"1.2.3.{index + 1}")
    spool.close()
    with running(replace(settings, destination=None)) as (node, said):
        wait_until(lambda: node.spool.counts()["processed"] == 2 or node.spool.counts()["failed"])
    assert said[0] == f"{key_of('1.2.3.1')}: Too many open files; close other programs; trying again"
    assert [line.split(":")[0] for line in said[1:]] == [key_of("1.2.3.2"), *[key_of("1.2.3.1")] * 5]


def test_an_image_that_failed_is_processed_again_when_it_arrives_again(spool: Spool, tmp_path: Path) -> None:
    key = key_of("1.2.3.1")
    for _ in range(5):
        (file,) = pictures(tmp_path / "images", 1)
        assert spool.receive(file, "1.2.3.1"), "it is to be processed"
        assert spool.begin_next() == key
        spool.fail(key, "no model")
    (file,) = pictures(tmp_path / "images", 1)
    spool.receive(file, "1.2.3.1")
    (file,) = pictures(tmp_path / "images", 1)
    assert not spool.receive(file, "1.2.3.1"), "it waits already"
    counts = spool.counts()
    assert (counts["received"], counts["waiting"], counts["failed"], counts["received_again"]) == (1, 1, 0, 6)


def test_a_damaged_database_is_one_sentence(spool: Spool, tmp_path: Path) -> None:
    waiting(spool, tmp_path / "images", 3)
    spool._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (spool.folder / DATABASE).open("rb+") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * 60_000)
    spool._database.execute("PRAGMA shrink_memory")
    with pytest.raises(DataError, match="the database is damaged; choose another folder"):
        spool.counts()


def test_a_clock_that_is_set_back(spool: Spool, tmp_path: Path) -> None:
    waiting(spool, tmp_path / "images", 1)
    spool.postpone(spool.due_results()[0], "no association")
    assert not spool.due_results()
    spool._database.execute("UPDATE results SET due_at = ?", (time.time() + 86_400,))
    assert len(spool.due_results()) == 1


def test_an_archive_that_was_away_may_refuse_before_a_result_is_given_up(
    spool: Spool, tmp_path: Path, archive: Archive
) -> None:
    settings = NodeSettings(spool.folder, destination=Peer("ARCHIVE", "127.0.0.1", archive.port))
    away = replace(settings, destination=Peer("ARCHIVE", "127.0.0.1", free_port()))
    uids = waiting(spool, tmp_path / "images", 1)
    for _ in range(6):
        assert send_due(away, spool) == 0
        now(spool)
    archive.answer = 0xC000
    for refusals in range(4):
        assert spool.due_results()[0].refusals == refusals and send_due(settings, spool) == 0
        now(spool)
    archive.answer = 0xA700  # its disk is full
    for _ in range(8):
        assert send_due(settings, spool) == 0
        now(spool)
    assert len(spool.due_results()) == 1
    archive.answer = 0x0000
    assert send_due(settings, spool) == 1 and archive.got == {uids[0]: 1}


def test_a_result_that_is_stored_with_a_warning_is_not_sent_again(
    spool: Spool, tmp_path: Path, archive: Archive
) -> None:
    waiting(spool, tmp_path / "images", 1)
    archive.answer = 0xB000
    assert send_due(NodeSettings(spool.folder, destination=Peer("ARCHIVE", "127.0.0.1", archive.port)), spool) == 1
    now(spool)
    assert not spool.due_results() and spool.counts()["results_sent"] == 1


@pytest.mark.skipif(os.name != "posix", reason="has no modes of files")
def test_nobody_else_may_read_what_has_arrived(spool: Spool) -> None:
    for folder in (spool.incoming, spool.received, spool.results):
        assert folder.stat().st_mode & 0o077 == 0


def test_what_an_archive_never_takes_keeps_nothing_else_waiting(spool: Spool, tmp_path: Path, archive: Archive) -> None:
    from pynetdicom import evt

    settings = NodeSettings(spool.folder, destination=Peer("ARCHIVE", "127.0.0.1", archive.port))
    uids = waiting(spool, tmp_path / "images", 3)
    store = archive._store

    def ends_the_association(event: Any) -> int:
        if str(event.request.AffectedSOPInstanceUID) == uids[0]:
            event.assoc.abort()
        return store(event)

    archive._server.bind(evt.EVT_C_STORE, ends_the_association)
    sent, end = 0, time.monotonic() + 20
    while sent < 2 and time.monotonic() < end:  # the end of the first association may take a second result along
        sent += send_due(settings, spool)
        time.sleep(0.05)
    assert sent == spool.counts()["results_sent"] == 2 and spool.counts()["results_waiting"] == 1


def test_a_shortage_of_this_machine_is_no_refusal(
    spool: Spool, tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pynetdicom.association import Association

    settings = NodeSettings(spool.folder, destination=Peer("ARCHIVE", "127.0.0.1", archive.port))
    waiting(spool, tmp_path / "images", 2)
    with monkeypatch.context() as patch:
        patch.setattr(Association, "send_c_store", Mock(side_effect=OSError(errno.EMFILE, "Too many open files")))
        with pytest.raises(OSError, match="Too many open files"):
            send_due(settings, spool)
    assert spool.counts()["results_refused"] == 0 and len(spool.due_results()) == 1, "the other one comes first"
    now(spool)
    assert send_due(settings, spool) == 2


@pytest.mark.parametrize(("is_missing", "state"), [(False, "results_waiting"), (True, "results_refused")])
def test_a_file_that_is_no_dicom_any_more_keeps_no_other_waiting(
    spool: Spool, tmp_path: Path, archive: Archive, is_missing: bool, state: str
) -> None:
    settings = NodeSettings(spool.folder, destination=Peer("ARCHIVE", "127.0.0.1", archive.port))
    waiting(spool, tmp_path / "images", 2)
    file = spool.due_results()[0].path
    file.unlink() if is_missing else file.write_bytes(b"cut")
    assert send_due(settings, spool) == 1 and not spool.due_results()
    assert spool.counts()[state] == 1


def test_a_transfer_that_ends_in_the_middle_leaves_nothing(tmp_path: Path, settings: NodeSettings) -> None:
    large = write_dicom(tmp_path / "large.dcm", np.zeros((900, 900), np.uint8), SOPInstanceUID="1.2.5")
    with running(replace(settings, max_bytes=100_000)) as (node, _):
        assert send(settings.port, [large]) in ([None], [0xA700])
        wait_until(lambda: not list(node.spool.incoming.iterdir()))
        assert node.spool.counts()["received"] == 0


def test_the_limit_is_that_of_an_image_and_not_of_an_association(tmp_path: Path, settings: NodeSettings) -> None:
    files = [
        write_dicom(tmp_path / f"{at}.dcm", np.zeros((200, 200), np.uint8), SOPInstanceUID=f"1.2.5.{at}")
        for at in range(4)
    ]
    with running(replace(settings, max_bytes=100_000)):
        assert send(settings.port, files) == [0x0000] * 4


def arrived(spool: Spool, file: Path, uid: str = "1.2.3.1") -> int:
    """Return the status that the sender of a file in `incoming` is answered."""
    event = Mock(dataset_path=str(file), request=Mock(AffectedSOPInstanceUID=uid))
    return _store(event, NodeSettings(spool.folder), spool, Mock(), lambda: None)


def test_an_image_unlike_its_command_or_unreadable_is_refused(spool: Spool, tmp_path: Path) -> None:
    (file,) = pictures(spool.incoming, 1)
    assert arrived(spool, file, "1.2.3.999") == 0xA900
    (spool.incoming / "a").write_bytes(b"no DICOM")
    assert arrived(spool, spool.incoming / "a") == 0xC000
    assert not list(spool.incoming.iterdir()) and spool.counts()["received"] == 0


@pytest.mark.parametrize("uid", ["../../up", "/tmp/up", "Visible^Name", "1.2\\3"])
def test_no_text_of_a_header_names_a_file(spool: Spool, tmp_path: Path, uid: str) -> None:
    (file,) = pictures(spool.incoming, 1)
    before = {path for path in tmp_path.rglob("*") if spool.folder not in path.parents}
    assert spool.receive(file, uid)
    (received,) = spool.received.iterdir()
    assert re.fullmatch("[0-9a-f]{32}[.]dcm", received.name)
    assert before == {path for path in tmp_path.rglob("*") if spool.folder not in path.parents}


def test_an_image_that_cannot_be_recorded_stays_with_its_sender(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = pictures(spool.incoming, 1)
    monkeypatch.setattr(spool, "_record", Mock(side_effect=SpoolError("locked")))
    assert arrived(spool, file) == 0xA700 and not list(spool.incoming.iterdir())


def test_images_are_refused_before_the_disk_is_full(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonoseg.dicom.node.receive._FREE_BYTES", 2**62)
    (file,) = pictures(spool.incoming, 1)
    assert arrived(spool, file) == 0xA700 and spool.counts()["received"] == 0
    monkeypatch.undo()
    (file,) = pictures(spool.incoming, 1)
    assert arrived(spool, file) == 0x0000 and spool.counts()["received"] == 1


def test_an_image_is_on_the_disk_before_it_is_recorded(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sender was told to have arrived, it removes: a crash of the machine must not lose it here."""
    steps: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, real=real, name=name: (steps.append(name), real(*given))[1])
    record = spool._record
    monkeypatch.setattr(spool, "_record", lambda key: (steps.append("record"), record(key)))
    (file,) = pictures(spool.incoming, 1)
    steps.clear()
    assert arrived(spool, file) == 0x0000
    assert steps == ["fsync", "replace", "fsync", "record"]  # the file, its name, and the folder


def test_no_more_associations_than_allowed(settings: NodeSettings) -> None:
    from pynetdicom import AE

    scanner = AE(ae_title="SCANNER")
    scanner.add_requested_context("1.2.840.10008.1.1")
    with running(replace(settings, max_associations=1)):
        held = scanner.associate("127.0.0.1", settings.port, ae_title="SONOSEG")
        with pytest.raises(ConnectionError):
            send(settings.port, [])
        held.release()
        wait_until(lambda: not held.is_alive())
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with suppress(ConnectionError):
                assert send(settings.port, []) == [0x0000]
                return
        raise AssertionError("its place was not freed")


def test_nothing_of_a_header_is_logged(
    tmp_path: Path, settings: NodeSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("pynetdicom"), "level", logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    named = write_dicom(tmp_path / "a.dcm", np.zeros((9, 9), np.uint8), PatientName="Visible^Name", PatientID="V-1")
    with running(settings) as (node, said):
        send(settings.port, [named], calling="HIDDEN")
        wait_until(lambda: node.spool.counts()["results_sent"] == 1)
    assert not [record for record in caplog.records if record.name.startswith("pynetdicom")]
    assert "Visible" not in caplog.text and "HIDDEN" not in caplog.text and "Visible" not in " ".join(said)


def test_an_unexpected_error_says_nothing_of_a_header(
    tmp_path: Path, settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.dicom.node.test_node.process", Mock(side_effect=RuntimeError("Visible^Name")))
    with running(settings) as (node, said):
        send(settings.port, pictures(tmp_path / "images", 1))
        wait_until(lambda: node.spool.counts()["failed"] == 1)
        ((reason,),) = node.spool._execute("SELECT reason FROM images")
    assert reason == "unexpected RuntimeError" and said == [f"{key_of('1.2.3.1')}: failed: {reason}"]


def test_a_message_part_of_gigabytes_is_not_awaited(settings: NodeSettings) -> None:
    with running(settings), socket.create_connection(("127.0.0.1", settings.port), timeout=5) as client:
        client.sendall(struct.pack(">BBL", 1, 0, 0x7FFFFFFF) + b"A" * 10)
        with suppress(ConnectionResetError):
            assert client.recv(100) == b""
        assert send(settings.port, []) == [0x0000]


def test_a_client_that_stalls_keeps_nobody_waiting(settings: NodeSettings, tls: Tls) -> None:
    with running(replace(settings, tls=tls)), socket.create_connection(("127.0.0.1", settings.port)):
        done = []
        thread = threading.Thread(
            target=lambda: done.append(send(settings.port, [], context=client_context(tls))), daemon=True
        )
        thread.start()
        thread.join(5)
        assert done == [[0x0000]]


def is_taken(port: int) -> bool:
    """Return whether the node admits an association."""
    with suppress(ConnectionError):
        return send(port, []) == [0x0000]
    return False


def test_connections_without_a_request_keep_no_place(settings: NodeSettings) -> None:
    """As a monitor makes them that looks whether the port is open."""
    with running(replace(settings, max_associations=2)):
        for _ in range(5):
            socket.create_connection(("127.0.0.1", settings.port)).close()
        wait_until(lambda: is_taken(settings.port), 10)


def test_a_certificate_of_nobody_is_refused(tmp_path: Path, settings: NodeSettings, tls: Tls) -> None:
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other")
    with running(replace(settings, tls=tls)):
        with pytest.raises(ConnectionError):
            send(settings.port, [], context=client_context(Tls(other.certificate, other.key, tls.certificate)))
        assert send(settings.port, [], context=client_context(tls)) == [0x0000]


def test_the_status_page_says_what_is_wrong(capfd: pytest.CaptureFixture[str]) -> None:
    def counts() -> dict[str, int]:
        raise SpoolError("the disk is full")

    port = free_port()
    server = start_status_page(port, counts)
    try:
        with pytest.raises(urllib.error.HTTPError) as found:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/status")
        assert found.value.code == 503 and json.load(found.value) == {"error": "the disk is full"}
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"GET /status HT")
        time.sleep(0.2)
    finally:
        server.shutdown()
        server.server_close()
    assert capfd.readouterr().err == ""
