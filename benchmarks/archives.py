"""Archives: images per second and core, bytes of a row, and what Ray costs, in one run on this machine.

    python -m benchmarks.archives                             # 2,000 simulated images
    python -m benchmarks.archives --images 20000              # as many as the guide speaks of
    python -m benchmarks.archives --nodes 3 --lose-one        # also on a cluster of three nodes, one of which is lost
    python -m benchmarks.archives --folder PATH --model NAME  # images and a model of one's own

Runs stage 4 as a user does: with Parquet shards, and with Parquet shards on Ray where that is installed, and compares
the rows. These ways run twice, on a few images and on all, so that the start is not counted. Memory is the peak of the
resident memory of the process that is started, and of the largest Ray process. Without --model a small network is
trained first, so that the cost of everything around the network is seen.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare import peak_mib
from benchmarks.samples import many_heads, trained
from sonoseg.archive.run import FAILURES_LOG
from sonoseg.archive.table import read_rows
from sonoseg.io.png import write_image

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = (120, 160)
FEW = 20
TRAINING_IMAGES = 250
SAMPLE_SECONDS = 0.2
PROCESSORS = 1
"""Of each node of a cluster; they are processes of this machine."""


@dataclass(frozen=True)
class Way:
    """How a run went: seconds of few images and of all, peak memory in MiB, rows in a fixed order, bytes of tables."""

    few_s: float
    all_s: float
    driver_mib: float
    worker_mib: float
    rows: list[dict[str, Any]]
    table_bytes: int
    tables: int


def write_images(folder: Path, count: int) -> None:
    """Write small pictures of a bright disc in noise, 1,000 in each sub-folder."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: SMALL[0], : SMALL[1]]
    for index in range(count):
        disc = (rows - 60) ** 2 + (columns - 80) ** 2 < 900 + index % 900
        pixels = np.where(disc, 180, 20).astype(np.uint8) + rng.integers(0, 60, SMALL, dtype=np.uint8)
        write_image(folder / f"{index // 1000:04d}" / f"{index:07d}.png", pixels, sync=False)


def run_stage(
    images: Path, out: Path, flags: Sequence[str], watch: Callable[[], None] = lambda: None
) -> tuple[float, float, float]:
    """Run stage 4; return seconds, and the peak memory in MiB of its process and of the largest Ray process.

    watch: called several times a second. Raises RuntimeError when it fails.
    """
    command = [sys.executable, "inference.py", "--images", str(images), "--output", str(out), *flags]
    started = time.monotonic()
    driver = workers = 0.0
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None:
            driver = max(driver, peak_mib(Path("/proc") / str(process.pid)))
            workers = max([workers, *map(peak_mib, ray_processes(os.getpid()))])
            watch()
            time.sleep(SAMPLE_SECONDS)
        if process.returncode not in (0, 1):
            errors.seek(0)
            raise RuntimeError(errors.read())
    return time.monotonic() - started, driver, workers


def ray_processes(root: int) -> list[Path]:
    """Return the folders in /proc of the processes that make shards, below the process `root`."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (folder / "cmdline").read_bytes().startswith(b"ray::ShardWorker"):
                found.append(folder)
        except OSError:
            continue

    def is_below(number: int) -> bool:
        while number > 1 and number != root:
            number = parents.get(number, 0)
        return number == root

    return [folder for folder in found if is_below(int(folder.name))]


def list_of(files: Sequence[Path], path: Path) -> Path:
    path.write_text("\n".join(map(str, files)))
    return path


def tables_of(out: Path) -> list[Path]:
    """Return the tables of a run, without what a process that was lost has left unfinished."""
    return list((out / "shards").glob("shard-*.parquet"))


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Return all rows of a run, in an order that does not depend on its shards."""
    rows = [row for path in tables_of(out) for row in read_rows(path)]
    for row in rows:
        del row["overlay"]  # its path has the name of the shard
    return sorted(rows, key=lambda row: (row["image"], row["region"] or 0, row["kind"], row["frame"] or 0))


def measure(files: Sequence[Path], root: Path, label: str, flags: Sequence[str]) -> Way:
    """Run a way on few and on all images."""
    few = files[:: max(1, len(files) // FEW)][:FEW]
    short, _, _ = run_stage(list_of(few, root / "few.txt"), root / f"{label}_few", flags)
    return whole(files, root, label, flags, short)


def whole(
    files: Sequence[Path],
    root: Path,
    label: str,
    flags: Sequence[str],
    few_s: float = 0,
    watch: Callable[[], None] = lambda: None,
) -> Way:
    """Run a way on all images."""
    out = root / f"{label}_all"
    seconds, driver, workers = run_stage(list_of(files, root / "all.txt"), out, flags, watch)
    sizes = [path.stat().st_size for path in tables_of(out)]
    return Way(few_s, seconds, driver, workers, rows_of(out), sum(sizes), len(sizes))


def describe(name: str, way: Way, count: int, jobs: int) -> tuple[float, str]:
    """Return the seconds per image without the start, and a line. count: number of files."""
    each = max(way.all_s - way.few_s, 1e-3) / (count - FEW)  # few images on a busy machine may take longer than all
    rate = 1 / each
    return each, (
        f"{name}: {rate:.1f} images a second on {jobs} cores, {rate / jobs:.1f} a core, start {way.few_s:.1f} s, "
        f"{way.table_bytes / max(1, len(way.rows)):.0f} bytes a row in {way.tables} shards, {memory(way)}"
    )


def memory(way: Way) -> str:
    workers = f", a Ray process {way.worker_mib:.0f} MiB" if way.worker_mib else ""
    return f"peak memory {way.driver_mib:.0f} MiB{workers}"


def compare_rows(name: str, found: Way, expected: Way) -> str:
    """Return a line. Raises RuntimeError when rows are missing, there twice, or different."""
    if len(found.rows) != len(expected.rows):
        raise RuntimeError(f"{name}: {len(found.rows)} rows; expected {len(expected.rows)}, as without Ray")
    for row, other in zip(found.rows, expected.rows, strict=True):
        if row != other:
            keys = [key for key in other if row.get(key) != other[key]]
            raise RuntimeError(f"{name}: {other['image']} differs from the run without Ray in {', '.join(keys)}")
    return f"  its {len(found.rows)} rows are those without Ray"


@contextmanager
def cluster(nodes: int) -> Iterator[Any]:
    """Yield a Ray cluster on this machine, with a head without processors and `nodes` other nodes."""
    from sonoseg.archive.libraries import ray_library

    os.environ["PYTHONPATH"] = str(REPOSITORY)  # for the processes of the nodes
    ray_library(local=True)
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(nodes):
            started.add_node(num_cpus=PROCESSORS)
        yield started
    finally:
        started.shutdown()


def on_nodes(files: Sequence[Path], root: Path, usual: Sequence[str], expected: Way, nodes: int, lose: bool) -> None:
    """Run on a cluster, of which one node is lost once half of the shards are there, and print how that went."""
    name, lost = f"ray, {nodes} nodes" + (", one of them lost" if lose else ""), list[float]()
    with cluster(nodes) as started:

        def watch() -> None:
            done = len(tables_of(root / "nodes_all"))
            if lose and not lost and done >= expected.tables / 2:
                lost.append(done / expected.tables)
                started.remove_node(sorted(started.worker_nodes, key=str)[0], allow_graceful=False)

        way = whole(files, root, "nodes", [*usual, "--ray", started.address], watch=watch)
    print(f"{name}: {way.all_s:.0f} s for {len(way.rows)} rows, start included, {memory(way)}")
    print(compare_rows(name, way, expected))
    if lose:
        if not lost:
            raise RuntimeError("the run ended before half of its shards were seen; take more images")
        log = root / "nodes_all" / FAILURES_LOG
        print(f"  lost after {lost[0]:.0%} of the shards; {FAILURES_LOG}:")
        print("".join(f"    {line}\n" for line in log.read_text().splitlines()) if log.exists() else "    nothing")


def measure_all(files: Sequence[Path], root: Path, usual: Sequence[str], arguments: argparse.Namespace) -> None:
    """Print lines for each way."""
    jobs, count = arguments.jobs, len(files)
    flags = [*usual, "--jobs", str(jobs), "--spacing", "0.2", "--overlays", "none"]
    plain = measure(files, root, "parquet", [*flags, "--results", "parquet"])
    plain_s, line = describe("parquet", plain, count, jobs)
    print(line, flush=True)
    if find_spec("ray") is None:
        print("ray: not installed here")
        return
    local = measure(files, root, "ray_local", [*flags, "--ray", "local"])
    local_s, line = describe("ray local", local, count, jobs)
    print(line)
    print(f"  {(local_s - plain_s) * 1000:+.1f} ms an image beside the run without Ray")
    print(compare_rows("ray local", local, plain), flush=True)
    if arguments.nodes:
        on_nodes(files, root, flags, plain, arguments.nodes, arguments.lose_one)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="number of simulated images")
    parser.add_argument("--folder", type=Path, help="images of one's own, with sub-folders, in place of simulated ones")
    parser.add_argument("--model", help="model file, or name of one that comes with SonoSeg (default: a small network)")
    parser.add_argument("--jobs", type=int, default=2, help="cores")
    parser.add_argument(
        "--nodes", type=int, choices=(0, 2, 3), default=0, help="also run on a cluster of so many nodes"
    )
    parser.add_argument("--lose-one", action="store_true", help="remove a node of it in the middle")
    arguments = parser.parse_args()
    if arguments.lose_one and not arguments.nodes:
        parser.error("--lose-one needs --nodes")
    if arguments.nodes and find_spec("ray") is None:
        parser.error("--nodes needs Ray: pip install 'sonoseg[ray]'")
    with tempfile.TemporaryDirectory(prefix="sonoseg-") as name:
        root = Path(name)
        folder = arguments.folder or root / "images"
        if not arguments.folder:
            write_images(folder, arguments.images)
        files = sorted(path.resolve() for path in folder.rglob("*.png"))
        if len(files) <= FEW:
            parser.error(f"{len(files)} images; expected more than {FEW}")
        model = arguments.model
        if model is None:
            data, task = many_heads(root / "training", TRAINING_IMAGES)
            model = str(trained(root / "training", str(task), data))
        measure_all(files, root, ["--model", model], arguments)


if __name__ == "__main__":
    main()
