"""The DICOM node: everything that arrives is processed once and sent once, whatever is killed or refused."""

import json
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sonoseg.__main__ import main
from sonoseg.dicom.node.process import load_segmenter
from sonoseg.dicom.node.receive import client_context, server_context
from sonoseg.dicom.node.serve import Node, started
from sonoseg.dicom.node.settings import NodeSettings, Peer, Tls, parse_ae, parse_peer
from sonoseg.dicom.node.spool import DATABASE, MAX_ATTEMPTS, Spool, key_of
from sonoseg.errors import DataError, MachineError, ModelError, UsageError
from sonoseg.models.registry import FOLDER
from tests.conftest import REPOSITORY
from tests.dicom.node.conftest import Archive, free_port, pictures, process, send, wait_until
from tests.dicom_files import write_dicom


@contextmanager
def running(settings: NodeSettings) -> Iterator[tuple[Node, list[str]]]:
    """Run a node in a thread; its lines are in the list."""
    said: list[str] = []
    stop = threading.Event()
    with started(settings, process) as node:
        thread = threading.Thread(target=lambda: said.extend(node.run(stop.is_set)))
        thread.start()
        try:
            yield node, said
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def settings(tmp_path: Path, archive: Archive) -> NodeSettings:
    return NodeSettings(tmp_path / "spool", port=free_port(), destination=Peer("ARCHIVE", "127.0.0.1", archive.port))


def test_from_scanner_to_archive(tmp_path: Path, settings: NodeSettings, archive: Archive) -> None:
    files = pictures(tmp_path / "images", 4, first=11)
    with running(settings) as (node, said):
        assert send(settings.port, []) == [0x0000]
        assert send(settings.port, files) == [0x0000] * 4
        wait_until(lambda: node.spool.counts()["results_sent"] == 3)
        assert send(settings.port, files[:1]) == [0x0000]
        counts = node.spool.counts()
    assert archive.got == {f"1.2.3.{index + 1}.7": 1 for index in (11, 12, 14)}
    assert counts == {
        **{"received": 4, "waiting": 0, "processed": 3, "failed": 1, "received_again": 1},
        **{"results_kept": 0, "results_waiting": 0, "results_sent": 3, "results_refused": 0},
    }
    assert f"{key_of('1.2.3.14')}: failed: unlucky" in said
    left = [path.name for path in settings.spool.rglob("*.dcm")]
    assert left == [f"{key_of('1.2.3.14')}.dcm"]  # of what was sent nothing is kept


def test_without_a_destination_results_stay(tmp_path: Path, settings: NodeSettings) -> None:
    with running(replace(settings, destination=None)) as (node, _):
        send(settings.port, pictures(tmp_path / "images", 1))
        wait_until(lambda: node.spool.counts()["processed"] == 1)
    assert (settings.spool / "results" / key_of("1.2.3.1") / "capture.dcm").is_file()


def test_an_archive_that_is_away_or_refuses(
    tmp_path: Path, settings: NodeSettings, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sonoseg.dicom.node.spool._LONGEST_WAIT_SECONDS", 0)
    archive.close()
    with running(settings) as (node, _):
        send(settings.port, pictures(tmp_path / "images", 1))
        wait_until(lambda: node.spool.due_results() and node.spool.due_results()[0].attempts >= 2)
        back = Archive(archive.port)
        back.answer = 0xA700
        wait_until(lambda: node.spool.counts()["results_refused"] or node.spool.due_results()[0].attempts >= 3)
        back.answer = 0xB000  # stored, with a warning
        wait_until(lambda: node.spool.counts()["results_sent"] + node.spool.counts()["results_refused"] == 1)
        back.close()


def test_a_restart_goes_on(tmp_path: Path, settings: NodeSettings, archive: Archive) -> None:
    spool = Spool(settings.spool)
    for index, file in enumerate(pictures(tmp_path / "images", 4)):
        assert spool.receive(file, f"1.2.3.{index + 1}")
    spool.complete(key_of("1.2.3.1"), process(spool.image(key_of("1.2.3.1")), spool.results), to_send=True)
    (spool.incoming / "tmp1.dcm").write_bytes(b"half")
    for _ in range(MAX_ATTEMPTS):  # as if the program had ended so often while it was processed
        spool.begin_next()
    (spool.received / f"{key_of('1.2.3.9')}.dcm").write_bytes(b"no DICOM")  # killed between the file and its record
    spool.close()
    with running(settings) as (node, _):
        wait_until(lambda: node.spool.counts()["results_sent"] == 3 and node.spool.counts()["waiting"] == 0)
        assert node.spool.counts()["failed"] == 2
    assert archive.got == {f"1.2.3.{index}.7": 1 for index in (1, 3, 4)}
    assert not list(spool.incoming.iterdir())


def test_a_file_that_is_no_database(settings: NodeSettings) -> None:
    settings.spool.mkdir()
    (settings.spool / DATABASE).write_text("somebody else's file, long enough to be read as a database")
    with pytest.raises(DataError, match="not a database of a node; choose another folder"):
        Node(settings, process)
    assert (settings.spool / DATABASE).read_text().startswith("somebody")


def test_the_model_of_a_task_that_is_planned_from_the_data(tmp_path: Path) -> None:
    """Its file is that of stage 1: three fields, which the other stages take as well."""
    (tmp_path / "mini.yaml").write_text(
        "name: mini\nstructures:\n  - {name: A, shape: ellipse, color: '#3bceac'}\nannotations: {format: mask_folder}\n"
    )
    model = tmp_path / "Models" / "mini" / "best_model.safetensors"
    with pytest.raises(ModelError, match=r"mini/best_model\.safetensors: no such file"):
        load_segmenter(str(tmp_path / "mini.yaml"), tmp_path, None)
    model.parent.mkdir(parents=True)
    shutil.copy(FOLDER / "fetal_head.safetensors", model)
    assert load_segmenter(str(tmp_path / "mini.yaml"), tmp_path, None).task.name == "fetal_head"


def test_callers(tmp_path: Path, settings: NodeSettings) -> None:
    with running(replace(settings, callers=("SCANNER",))) as (_, _):
        assert send(settings.port, []) == [0x0000]
        with pytest.raises(ConnectionError):
            send(settings.port, [], calling="OTHER")
        with pytest.raises(ConnectionError):
            send(settings.port, [], ae="ELSE")
        with pytest.raises(MachineError, match="choose another address or port"):
            Node(replace(settings, spool=tmp_path / "other"), process)


def test_what_is_too_large_or_unlike_its_command_is_refused(tmp_path: Path, settings: NodeSettings) -> None:
    large = write_dicom(tmp_path / "large.dcm", np.zeros((600, 600), np.uint8), SOPInstanceUID="1.2.5")
    with running(replace(settings, max_bytes=100_000)) as (node, _):
        assert send(settings.port, [large]) in ([None], [0xA700])
        assert send(settings.port, pictures(tmp_path / "images", 1)) == [0x0000]
        wait_until(lambda: node.spool.counts()["received"] == 1)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return certificate(tmp_path)


def certificate(folder: Path) -> Tls:
    """Return a certificate that is signed by itself, with its key; the test is skipped without openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    file, key = folder / "node.pem", folder / "node.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(file)], check=True, capture_output=True)
    return Tls(file, key, file)


def test_tls_on_both_sides(tmp_path: Path, settings: NodeSettings, archive: Archive, tls: Tls) -> None:
    archive.close()
    secure = Archive(archive.port, server_context(tls))
    with running(replace(settings, tls=tls, send_tls=True)) as (node, _):
        with pytest.raises(ConnectionError):
            send(settings.port, [])
        files = pictures(tmp_path / "images", 1)
        assert send(settings.port, files, context=client_context(tls)) == [0x0000]
        wait_until(lambda: node.spool.counts()["results_sent"] == 1)
    secure.close()


def test_tls_files_that_are_none(tmp_path: Path, settings: NodeSettings, tls: Tls) -> None:
    with pytest.raises(UsageError, match="no such file"):
        replace(settings, tls=Tls(tls.certificate, tmp_path / "missing")).check()
    with pytest.raises(UsageError, match="expected a certificate and its key"):
        server_context(Tls(tls.key, tls.key))


def test_status_page(settings: NodeSettings) -> None:
    port = free_port()
    with running(replace(settings, status_port=port)) as (node, _):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status") as answer:
            assert json.load(answer) == node.spool.counts()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/../etc/passwd")


@pytest.mark.parametrize("text", ["", "A" * 17, "A\\B", " A", "A\n"])
def test_ae_titles(text: str) -> None:
    with pytest.raises(ValueError, match="expected an AE title"):
        parse_ae(text)


def test_peers() -> None:
    assert parse_peer("ORTHANC@localhost:4242") == Peer("ORTHANC", "localhost", 4242)
    assert parse_peer("A@[::1]:104") == Peer("A", "::1", 104)
    for text in ("ORTHANC", "A@b", "A@b:0", "A@b:99999", "@b:1"):
        with pytest.raises(ValueError):
            parse_peer(text)


def test_an_open_node_needs_callers(settings: NodeSettings) -> None:
    with pytest.raises(UsageError, match="no caller is named"):
        replace(settings, host="0.0.0.0").check()


def test_the_command_with_a_model_that_comes_along(tmp_path: Path, archive: Archive) -> None:
    """What is not in this process: the command line, a real model, and the end by a signal."""
    port, spool = free_port(), tmp_path / "spool"
    command = [sys.executable, "-m", "sonoseg", "dicom-node", "--task", "spine_realtime", "--spool", str(spool)]
    node = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    first = node.stdout.readline() if node.stdout else ""
    assert "SONOSEG listens" in first and "task spine_realtime, model " in first
    picture = np.tile(np.arange(160, dtype=np.uint8), (120, 1))
    assert send(port, [write_dicom(tmp_path / "a.dcm", picture, SOPInstanceUID="1.2.3")]) == [0x0000]
    assert node.stdout.readline() == f"{key_of('1.2.3')}: 3 results\n"
    node.terminate()
    assert node.wait(20) == 128 + 15
    written = sorted(path.name for path in (spool / "results" / key_of("1.2.3")).glob("*.dcm"))
    assert written == [f"{key_of('1.2.3')}_{kind}.dcm" for kind in ("capture", "seg", "sr")]


def test_a_model_alone_names_its_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = FOLDER / "spine_realtime.safetensors"
    assert load_segmenter(None, tmp_path, model).task.name == "spine_realtime"
    with pytest.raises(UsageError, match="was trained for task spine_realtime, not fetal_head"):
        load_segmenter("fetal_head", tmp_path, model)
    assert main(["dicom-node", "--spool", str(tmp_path / "spool")]) == 2
    assert "neither a task nor a model is given" in capsys.readouterr().err and not (tmp_path / "spool").exists()


@pytest.mark.parametrize("more", [["--host", "0.0.0.0"], ["--ae", "A" * 17], ["--send", "nowhere"], ["--send-tls"]])
def test_wrong_use_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    assert main(["dicom-node", "--task", "spine_realtime", "--spool", str(tmp_path / "spool"), *more]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and not (tmp_path / "spool").exists()
