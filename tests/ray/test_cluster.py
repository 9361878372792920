"""Archives on a Ray cluster: rows exactly once, whatever process or node is lost, and equal to those without Ray."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sonoseg.errors import MachineError
from tests.conftest import REPOSITORY
from tests.ray.conftest import IMAGES, PROCESSORS, driver
from tests.test_readme import blocks

SHARD_IMAGES = 10
GUIDE = REPOSITORY / "docs" / "guide" / "archives.md"


def start(
    folder: Path, images: Path, model: Path, *flags: str, device: str = "cpu", engine: str = "openvino"
) -> subprocess.Popen[str]:
    """Start stage 4 on an archive."""
    command = [sys.executable, "inference.py", "--model", str(model), "--engine", engine, "--device", device]
    command += ["--images", str(images), "--output", str(folder), "--shard-images", str(SHARD_IMAGES), *flags]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "shards").iterdir()}


def assert_same(folder: Path, expected: dict[str, bytes]) -> None:
    """Compare shards byte for byte; say in which rows they differ."""
    import io

    import pyarrow.parquet

    found = shards(folder)
    assert found.keys() == expected.keys()
    for name in [name for name in expected if found[name] != expected[name]]:
        here, there = (pyarrow.parquet.read_table(io.BytesIO(data)) for data in (found[name], expected[name]))
        rows = zip(here.to_pylist(), there.to_pylist(), strict=True)
        others = [{key: (row[key], other[key]) for key in row if row[key] != other[key]} for row, other in rows]
        assert not [each for each in others if each], name
        assert here.schema.metadata == there.schema.metadata, name
        raise AssertionError(f"{name}: equal rows in other bytes")


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory, images: Path, model: Path) -> dict[str, bytes]:
    """The shards of a run without Ray."""
    folder = tmp_path_factory.mktemp("expected")
    ended = start(folder, images, model, "--results", "parquet", "--jobs", "1")
    output, _ = ended.communicate(timeout=120)
    assert ended.returncode == 1 and f"{IMAGES + 1} images" in output and "1 failed" in output, output
    return shards(folder)


@pytest.fixture
def on_cluster(ray: Any, tmp_path: Path, images: Path, model: Path) -> Callable[..., Any]:
    """Return a function that runs the pool on a cluster, and returns the tally and the notes on failures."""
    from sonoseg.archive.cluster import Pool, PoolSettings
    from sonoseg.archive.inputs import open_archive
    from sonoseg.archive.rows import ArchiveRun
    from sonoseg.archive.run import Plan, fingerprint_of, run_archive
    from sonoseg.inference.segmenter import Segmenter
    from sonoseg.inference.sources import SpacingOptions
    from sonoseg.io.limits import DEFAULT_LIMITS
    from sonoseg.runs.lock import locked
    from sonoseg.runs.output_folder import OutputFolder

    def run(cluster: Any, done: Callable[[Any], None] = lambda tally: None, **settings: Any) -> tuple[Any, list[str]]:
        segmenter = Segmenter.load(model, "cpu", "openvino", 1)
        archive = open_archive(images, segmenter.task, SpacingOptions())
        fingerprint = fingerprint_of(segmenter, DEFAULT_LIMITS, False, "review")
        folder = tmp_path / "out"
        archive_run = ArchiveRun(segmenter, archive.root, folder, fingerprint)
        notes: list[str] = []
        with driver(ray, cluster.address), locked(folder), OutputFolder(folder, "stage4") as output:
            pool = Pool(ray, archive_run, PoolSettings(**settings), notes.append)
            return run_archive(archive, archive_run, pool, output, Plan(SHARD_IMAGES), done), notes

    return run


def test_the_shards_are_those_of_a_run_without_ray(
    cluster: Callable[[int], Any], on_cluster: Callable[..., Any], expected: dict, tmp_path: Path
) -> None:
    tally, notes = on_cluster(cluster(2))
    assert_same(tmp_path / "out", expected)
    assert not notes
    counts = tally.for_record()
    assert counts["inputs"] == IMAGES + 1 == sum(counts[name] for name in ("ok", "check", "reject", "failed"))


def test_one_of_three_nodes_is_lost_in_the_middle(
    cluster: Callable[[int], Any], on_cluster: Callable[..., Any], expected: dict, tmp_path: Path
) -> None:
    from tests.ray.workers import Slow

    nodes = cluster(3)
    removed: list[Any] = []

    def lose(tally: Any) -> None:
        if len(tally.digests) >= 3 and not removed:
            removed.append(sorted(nodes.worker_nodes, key=str)[0])
            nodes.remove_node(removed[0], allow_graceful=False)

    tally, notes = on_cluster(nodes, lose, worker=Slow)
    assert removed
    assert_same(tmp_path / "out", expected)
    assert tally.counts["inputs"] == IMAGES + 1 and tally.counts["failed"] == 1
    assert 1 <= len(notes) <= 2 * PROCESSORS and any("its process ended without an answer" in note for note in notes)


def test_images_that_end_their_process_fail_alone(
    cluster: Callable[[int], Any], on_cluster: Callable[..., Any], expected: dict, tmp_path: Path, images: Path
) -> None:
    import pyarrow.parquet

    from tests.ray.workers import POISON, Poisoned

    tally, notes = on_cluster(cluster(2), worker=Poisoned, seconds=2.0)
    assert tally.counts["inputs"] == IMAGES + 1 and tally.counts["failed"] == 1 + len(POISON)
    table = pyarrow.parquet.read_table(tmp_path / "out" / "shards").to_pylist()
    assert len({row["image"] for row in table}) == len(table) == IMAGES + 1
    reasons = {row["image"]: row["reason"] for row in table if row["status"] == "failed"}
    # The first may be taken for the second where the machine is so busy that the end of a process is noticed late.
    assert reasons[POISON["crash"]].startswith(f"{images / POISON['crash']}: failed twice: ")
    assert reasons[POISON["endless"]] == f"{images / POISON['endless']}: failed twice: no result after 2 s"
    assert "memory is exhausted" in reasons[POISON["memory"]]
    named = [note for note in notes if re.match(r"\S+: (shard [0-9a-f]{16}, files|\d+/\d+\.png)", note)]
    assert len(named) >= 6 and all("loaded the models" in note for note in notes if note not in named)
    same = sum(data == expected[name] for name, data in shards(tmp_path / "out").items())
    assert len(expected) - len(POISON) <= same < len(expected)


@pytest.mark.parametrize(
    ("worker", "message"),
    [
        ("Other", r"node-7: its results would be others: numpy 1\.0 instead of"),
        ("Dying", r"3 processes ended while they loaded the models, the last one on node 127\.0\.0\.1: "),
        ("LostDrive", "the drive does not answer"),
    ],
)
def test_nodes_that_cannot_do_it_end_the_run(
    worker: str, message: str, cluster: Callable[[int], Any], on_cluster: Callable[..., Any], tmp_path: Path
) -> None:
    from tests.ray import workers

    with pytest.raises(MachineError, match=message):
        on_cluster(cluster(2), worker=getattr(workers, worker))
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_driver_without_a_gpu_uses_those_of_the_nodes(
    cluster: Callable[[int], Any], images: Path, model: Path, tmp_path: Path
) -> None:
    """As far as that goes without one: the process is placed on a node that states one, and says what it lacks."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here, so that nothing is missing")
    nodes = cluster(0)
    node = nodes.add_node(num_cpus=1, num_gpus=1)
    try:
        flags = ["--ray", nodes.address, "--gpus-per-actor", "0.25"]
        output, _ = start(tmp_path / "out", images, model, *flags, device="auto", engine="auto").communicate(
            timeout=120
        )
    finally:
        nodes.remove_node(node)
    assert " on cuda, torch " in output
    reason = "device cuda: no CUDA device is available here"
    assert f"error: {socket.gethostname()}: {reason}" in output and "Traceback" not in output, output


def test_a_killed_driver_is_resumed(
    cluster: Callable[[int], Any], expected: dict, tmp_path: Path, images: Path, model: Path
) -> None:
    address = cluster(2).address
    out = tmp_path / "out"
    killed = start(out, images, model, "--ray", address)
    wait_for(lambda: len(list((out / "shards").glob("shard-*"))) >= 3, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert not (out / "run.json").exists()
    done = len(list((out / "shards").glob("shard-*")))
    resumed = start(out, images, model, "--ray", address)
    output, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 1, output
    reused = re.search(r"(\d+) of (\d+) shards, with \d+ images, reused", output)
    assert reused and done <= int(reused[1]) <= len(expected) == int(reused[2])
    assert_same(out, expected)
    verified = subprocess.run([sys.executable, "-m", "sonoseg", "verify", str(out)], cwd=REPOSITORY, check=False)
    assert verified.returncode == 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def test_a_killed_process_is_replaced(
    cluster: Callable[[int], Any], on_cluster: Callable[..., Any], expected: dict, tmp_path: Path
) -> None:
    import psutil

    from tests.ray.workers import Slow

    killed: list[int] = []

    def kill(tally: Any) -> None:
        if len(tally.digests) in (2, 6) and len(killed) < len(tally.digests) // 2 - (len(tally.digests) == 6):
            mine = [each for each in psutil.process_iter() if "ray::Slow" in " ".join(each.cmdline())]
            if mine:
                killed.append(mine[0].pid)
                os.kill(mine[0].pid, signal.SIGKILL)

    tally, notes = on_cluster(cluster(2), kill, worker=Slow)
    assert killed and 1 <= len(notes) <= len(killed)
    assert_same(tmp_path / "out", expected)
    assert tally.counts["failed"] == 1


def test_memory_of_the_driver_does_not_grow(
    cluster: Callable[[int], Any], ray: Any, images: Path, model: Path, tmp_path: Path
) -> None:
    """Hundreds of further shards need no more memory."""
    import itertools

    import psutil

    from sonoseg.archive.cluster import Pool, PoolSettings
    from sonoseg.archive.inputs import Unit, open_archive
    from sonoseg.archive.rows import ArchiveRun
    from sonoseg.archive.run import fingerprint_of
    from sonoseg.archive.shards import Shard, group
    from sonoseg.inference.segmenter import Segmenter
    from sonoseg.inference.sources import SpacingOptions
    from sonoseg.io.limits import DEFAULT_LIMITS
    from sonoseg.runs.lock import locked

    segmenter = Segmenter.load(model, "cpu", "openvino", 1)
    units: list[Unit] = list(open_archive(images, segmenter.task, SpacingOptions()).units())
    run = ArchiveRun(segmenter, images, tmp_path / "out", fingerprint_of(segmenter, DEFAULT_LIMITS, False, "review"))
    taken: list[int] = []

    def endless() -> Iterator[Shard]:
        for number in itertools.count():
            taken.append(number)
            yield from itertools.islice(group(units, str(number), 2), 1)

    process, peaks = psutil.Process(), list[int]()
    with driver(ray, cluster(2).address), locked(run.folder):
        for made, _ in enumerate(Pool(ray, run, PoolSettings(), print)(endless())):
            assert len(taken) - made <= 2 * PROCESSORS + 2  # back-pressure
            if made in (100, 350):
                peaks.append(process.memory_info().rss)
            if made == 350:
                break
    assert peaks[1] - peaks[0] < 8 << 20, peaks


def test_local_processes_listen_on_the_loopback_address_only(
    expected: dict, images: Path, model: Path, tmp_path: Path
) -> None:
    import psutil

    process = start(tmp_path / "out", images, model, "--ray", "local", "--jobs", "2", "--overlays", "review")
    addresses, names = set(), set()

    def look() -> None:
        while process.poll() is None:
            try:
                for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
                    names.add(each.name())
                    found = each.net_connections()
                    addresses.update(one.laddr.ip for one in found if one.status == "LISTEN")
                    addresses.update(one.raddr.ip for one in found if one.raddr)
            except psutil.Error:
                pass
            time.sleep(0.3)

    watcher = Thread(target=look)
    watcher.start()
    output, _ = process.communicate(timeout=150)
    watcher.join()
    assert process.returncode == 1, output
    assert_same(tmp_path / "out", expected)
    assert addresses and {re.sub("^::ffff:", "", address) for address in addresses} <= {"127.0.0.1", "::1"}
    assert any("raylet" in name for name in names)


def test_a_cluster_that_is_not_there(images: Path, model: Path, tmp_path: Path) -> None:
    process = start(tmp_path / "out", images, model, "--ray", "127.0.0.1:9")
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2 and "error: --ray 127.0.0.1:9: no Ray cluster there" in output, output
    assert "Traceback" not in output


def test_duckdb_and_pandas_read_the_table_in_two_lines(expected: dict, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    (tmp_path / "shards").mkdir()
    for name, data in expected.items():
        (tmp_path / "shards" / name).write_bytes(data)
    tables = []
    for name in ("pandas", "duckdb"):
        (block,) = (block for block in blocks(GUIDE, "python") if f"import {name}" in block)
        assert len([line for line in block.splitlines() if line]) == 2
        values: dict[str, Any] = {}
        exec(block.replace("result/fetal_head_archive", str(tmp_path)), values)
        tables.append(values["table"])
    by_status = tables[0]["status"].value_counts().to_dict()
    assert dict(tables[1].fetchall()) == by_status
    assert sum(by_status.values()) == IMAGES + 1
