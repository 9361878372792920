"""Make the sample data: python -m sonoseg.phantom [--kind spine] [--out Datasets/spine] [--images 70] [--seed 42]."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sonoseg.errors import DataError, UsageError
from sonoseg.phantom.dataset import KINDS, is_already_there, plan, write_dataset
from sonoseg.phantom.layout import Settings, SimulatedImage
from sonoseg.runs.checkout import default_workspace
from sonoseg.runs.command_line import SEED, number_type, path_type, run_guarded


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sonoseg.phantom",
        description="Simulate annotated ultrasound images: sample data for a first run of the four scripts.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--out",
        type=path_type,
        help="folder to write (default: Datasets/<kind> in the repository)",
        default=argparse.SUPPRESS,
    )
    parser.add_argument("--kind", choices=sorted(KINDS), default="spine", help="what the images show")
    parser.add_argument("--images", type=number_type(int, 0, 1_000_000), default=70, help="number of images")
    parser.add_argument("--seed", type=SEED, default=42, help="the same seed gives the same files")
    parser.add_argument(
        "--size-scale", type=number_type(float, 0, 10), default=1.0, help="factor on the image size in pixels"
    )
    parser.add_argument(
        "--artefacts",
        action="store_true",
        help="spine only: three of four images begin with a frame, ring-down of the transducer, or a line of text",
    )
    parser.add_argument("--force", action="store_true", help="write even if the folder holds other data")
    return parser.parse_args(argv)


def with_progress(cases: list[SimulatedImage]) -> Iterator[SimulatedImage]:
    """Yield the cases, with a progress bar on a terminal."""
    from rich.progress import track

    yield from track(cases, description="simulating", disable=not sys.stderr.isatty())


def check(out: Path, settings: Settings, force: bool) -> bool:
    """Return what `is_already_there` returns. Raises UsageError and DataError, which name the flags to change."""
    try:
        plan(settings)  # a wrong number is reported before anything is touched
    except UsageError as error:
        setting, _, problem = str(error).partition(" ")
        raise UsageError(f"--{setting.replace('_', '-')} {problem}") from None
    try:
        return is_already_there(out, settings, force)
    except DataError as error:
        raise DataError(f"{error} (--out, --force)") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Check the folder, write the dataset, print a summary."""
    args = parse(argv)
    settings = Settings(args.kind, args.images, args.seed, args.size_scale, args.artefacts)
    out = getattr(args, "out", default_workspace() / "Datasets" / settings.kind)
    if check(out, settings, args.force):
        print(f"{out}: already there ({settings.images} images, seed {settings.seed})")
        return 0
    cases = write_dataset(out, settings, with_progress)
    patients = len({case.subject for case in cases})
    print(f"{out}: {len(cases)} images of {patients} simulated patients, seed {settings.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(run_guarded(main))
