"""Whether the package runs from a source tree, with the four scripts beside it, or from an installed copy."""

from pathlib import Path

MARKS = ("inference.py", "pyproject.toml")
"""Files that identify a source tree when both are beside the package: an installed copy has neither beside it."""

_PACKAGE = Path(__file__).resolve().parents[1]


def checkout(package: Path = _PACKAGE) -> Path | None:
    """Return the root folder of the source tree that contains `package`; None for an installed copy."""
    return package.parent if all((package.parent / name).is_file() for name in MARKS) else None


def default_workspace() -> Path:
    """Return the source tree's root folder, or the current folder for an installed copy."""
    return checkout() or Path()
