"""The real server: parallel requests, kills, two processes on one folder, and its end."""

import asyncio
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from sonoseg.__main__ import main as sonoseg
from sonoseg.review.store import Rater, Store
from sonoseg.review.web.serve import Where, _listening, _socket, usual_port
from tests.conftest import REPOSITORY
from tests.review.conftest import Page

SHAPE = {"structure": "HEAD", "kind": "ellipse", "points": [[20, 60], [120, 60], [70, 30], [70, 90]]}


@contextmanager
def serving(results: Path) -> Iterator[tuple[subprocess.Popen, httpx.Client]]:
    """A server in a process of its own, and a client that has its cookie."""
    command = [sys.executable, "-m", "sonoseg", "review", str(results), "--no-browser", "--reviewer", "ann"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert run.stdout is not None
        lines: list[str] = []
        try:
            while "http://" not in "".join(lines[-1:]):
                lines.append(run.stdout.readline())
                assert lines[-1], lines
            address = re.search(r"http://\S+", lines[-1])
            assert address
            with httpx.Client(headers={"X-Sonoseg": "1"}, follow_redirects=False, trust_env=False) as client:
                assert client.get(address[0]).status_code == 303
                client.base_url = httpx.URL(address[0]).copy_with(query=None)
                yield run, client
        finally:
            with suppress(ProcessLookupError):
                run.kill()


def test_a_killed_server_loses_nothing_that_it_acknowledged(results: Path) -> None:
    with serving(results) as (run, client):
        items = client.get("/api/items").json()["items"]
        identity = next(item["id"] for item in items if item["name"] == "000_a")
        body = {"frame": 1, "base_version": 0, "decision": "corrected", "shapes": [SHAPE]}
        assert client.put(f"/api/items/{identity}/review", json=body).json()["version"] == 1
        run.send_signal(signal.SIGKILL)
        run.wait(10)
    with serving(results) as (run, client):
        item = client.get(f"/api/items/{identity}").json()
        assert (item["decision"], item["shapes"], item["version"]) == ("corrected", [SHAPE], 1)
        run.send_signal(signal.SIGINT)
        assert run.wait(20) in (0, 130)
        assert "Traceback" not in run.stdout.read()  # type: ignore[union-attr]


SAVES = """
import sys
from pathlib import Path
from sonoseg.review.store import Conflict, Rater, Store
store = Store(Path(sys.argv[1]), Rater(sys.argv[2]))
after = {"decision": "accepted", "shapes": [], "spacing_mm": None, "note": "n" * 2000}
for number in range(int(sys.argv[3])):
    item = f"i{number % 3}"
    while True:
        store.refresh()
        newest = store.newest(item, 1)
        try:
            entry = {"decision": "accepted", "image": item, "after": after}
            saved = store.save(item, 1, newest["version"] if newest else 0, entry)
        except Conflict:
            continue
        break
    print(saved["version"], flush=True)
"""


def saving(folder: Path, name: str, count: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SAVES, str(folder), name, str(count)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_kill_in_the_middle_of_saving(tmp_path: Path) -> None:
    run = saving(tmp_path, "ann", 100_000)
    assert run.stdout is not None
    for _ in range(30):
        run.stdout.readline()
    run.kill()
    acknowledged = 30 + len(run.communicate()[0].split())
    entries = Store(tmp_path, Rater("ben")).all_entries()
    assert len(entries) in (acknowledged, acknowledged + 1)
    assert [entry["version"] for entry in entries] == list(range(1, len(entries) + 1))
    assert json.loads((tmp_path / "annotations.json").read_text()).keys() == {"i0", "i1", "i2"}


def test_two_processes_overwrite_nothing(tmp_path: Path) -> None:
    runs = [saving(tmp_path, name, 40) for name in ("ann", "ben")]
    answers = [run.communicate(timeout=60) for run in runs]
    assert all(run.returncode == 0 for run in runs), answers
    versions = sorted(int(line) for out, _ in answers for line in out.split())
    assert versions == list(range(1, 81))  # each line once
    lines = (tmp_path / "reviews.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 80


def test_an_incomplete_line_is_skipped(tmp_path: Path) -> None:
    store, entry = Store(tmp_path, Rater("ann")), {"decision": "rejected", "image": "a", "after": {"shapes": []}}
    store.save("a", 1, 0, entry)
    with (tmp_path / "reviews.jsonl").open("ab") as log:
        log.write(b'{"item": "b", "frame": 1, "decision": "acc')
    after = Store(tmp_path, Rater("ann"))
    assert [one["item"] for one in after.all_entries()] == ["a"]
    assert after.save("a", 1, 1, entry)["version"] == 2
    assert [one["version"] for one in Store(tmp_path, Rater("ben")).all_entries()] == [1, 2]


def test_a_line_that_another_process_is_writing_is_read_when_it_is_complete(tmp_path: Path) -> None:
    entry = {"decision": "rejected", "image": "a", "after": {"shapes": []}}
    Store(tmp_path / "other", Rater("ann")).save("a", 1, 0, entry)
    line = (tmp_path / "other" / "reviews.jsonl").read_bytes()
    store = Store(tmp_path, Rater("ben"))
    with (tmp_path / "reviews.jsonl").open("ab", buffering=0) as log:
        log.write(line[:40])
        store.refresh()
        assert not store.all_entries()
        log.write(line[40:])
    store.refresh()
    assert [one["item"] for one in store.all_entries()] == ["a"]


def test_a_log_that_was_replaced_is_read_from_its_beginning(tmp_path: Path) -> None:
    store, entry = Store(tmp_path, Rater("ann")), {"decision": "rejected", "image": "a", "after": {"shapes": []}}
    store.save("a", 1, 0, entry)
    store.save("b", 1, 0, entry)
    (tmp_path / "reviews.jsonl").unlink()
    Store(tmp_path, Rater("ben")).save("c", 1, 0, entry)
    assert store.save("b", 1, 0, entry)["version"] == 2
    assert [one["item"] for one in store.all_entries()] == ["c", "b"]


def test_a_folder_in_which_another_process_hangs(page: Page, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonoseg.review.store.SECONDS", 0.1)
    (results / "review").mkdir()
    with (results / "review" / ".reviews.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process is saving" in page.save("000_a", "accepted", status=503)["error"]
    assert page.save("000_a", "accepted")["version"] == 1


def test_a_full_disk_says_that_nothing_was_saved(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sonoseg.review.store.append_line", full)
    assert "nothing was saved: No space left" in page.save("000_a", "accepted", status=503)["error"]
    assert page.item("000_a")["version"] == 0


def test_what_cannot_be_read_is_not_said_to_be_unsaved(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("sonoseg.review.session.Review.listing", full)
    assert page.get("items", status=503)["error"].startswith("this is not possible now: Too many open files")


def test_two_hundred_requests_at_once(page: Page) -> None:
    items = [item["id"] for item in page.get("items")["items"]]
    paths = [f"/api/items/{items[n % 6]}{('', '/image', '/thumbnail')[n % 3]}" for n in range(200)]

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(page.app)
        cookies = page.client.cookies
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:0", cookies=cookies) as client:
            return await asyncio.gather(*(client.get(path) for path in paths))

    start = time.monotonic()
    answers = asyncio.run(ask())
    assert {answer.status_code for answer in answers} == {200} and time.monotonic() - start < 30


def test_the_same_results_have_the_same_port_where_it_is_free(page: Page, results: Path, tmp_path: Path) -> None:
    review = page.app.app.routes[0].endpoint.__self__.review
    port = usual_port(review.folder)
    assert 8400 <= port < 8600 and port == usual_port(review.folder)
    with socket.create_server(("127.0.0.1", port)) as taken:
        taken.listen()
        with _listening(review, Where()) as other:
            assert other.getsockname()[1] not in (0, port)


def test_no_answer_waits_for_an_acknowledgement() -> None:
    """With Nagle's algorithm headers are sent, and the body 40 ms later, in each answer."""
    with (
        _socket("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        assert sonoseg(["review", str(results), "--port", str(port), "--no-browser"]) == 2
    assert f"port {port}: Address already in use; choose another port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--host", "0.0.0.0"], "give a file with the token"),
        (["--reviewer", " "], "expected a name of 1 to 100 characters"),
        (["--dataset"], "no image was accepted or corrected"),
    ],
)
def test_wrong_use(results: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str) -> None:
    assert sonoseg(["review", str(results), "--no-browser", *arguments]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "python_multipart"])
def test_what_is_missing_is_named(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("sonoseg.review.web")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert sonoseg(["review", str(results), "--no-browser"]) == 2
    assert "pip install 'sonoseg[review]'" in capsys.readouterr().err


def test_images_without_results_do_not_mix_with_the_results_of_others(
    results: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results.parents[1] / "result" / "spine_realtime").mkdir()
    (results.parents[1] / "result" / "spine_realtime" / "results.csv").touch()
    given = ["--images", str(pictures), "--model", "spine_realtime", "--workspace", str(results.parents[1])]
    assert sonoseg(["review", *given, "--no-browser"]) == 2
    assert "has results already, perhaps of other images" in capsys.readouterr().err


def test_the_only_results_need_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sonoseg(["review", "--workspace", str(tmp_path), "--no-browser"]) == 2
    assert "no results there; run inference.py first" in capsys.readouterr().err
    for name in ("a", "b"):
        (tmp_path / "result" / name).mkdir(parents=True)
        (tmp_path / "result" / name / "results.csv").touch()
    assert sonoseg(["review", "--workspace", str(tmp_path), "--no-browser"]) == 2
    assert "several results; name one of" in capsys.readouterr().err


NOBODY = 65534


@contextmanager
def not_as_root() -> Iterator[None]:
    """Do without the rights of root, who may write everywhere, until the end of the block."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(NOBODY)
    except PermissionError:
        pytest.skip("root may write everywhere, and may not become another user here")
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_folder() -> None:
    # Not tmp_path, which nobody but its owner may enter, nor where an earlier test has pointed tempfile at.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        results = Path(folder) / "results"
        results.mkdir()
        if os.geteuid() == 0:
            os.chmod(folder, 0o755)
            os.chown(results, NOBODY, NOBODY)
        with not_as_root():
            results.chmod(0o500)
            assert "cannot be written" in Store(results / "review", Rater("ann")).read_only
            results.chmod(0o700)
            assert Store(results / "review", Rater("ann")).read_only == ""


def test_the_guide_lists_the_addresses_of_the_server(page: Page) -> None:
    text = (REPOSITORY / "docs" / "guide" / "review.md").read_text()
    cells = [
        line.split("|")[1] for line in text.partition("## The HTTP interface")[2].splitlines() if line[:3] == "| `"
    ]
    requests = [request.partition("?")[0] for cell in cells for request in re.findall(r"`([^`]+)`", cell)]
    documented = {re.sub(r"<\w+>", "*", request) for request in requests}
    served = {
        f"{method} {re.sub(r'{[^}]+}', '*', route.path)}"
        for route in page.app.app.routes
        for method in route.methods - {"HEAD"}
    }
    assert documented == served
