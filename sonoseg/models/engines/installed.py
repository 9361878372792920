"""The types of the engines that run conversions, and which of them are installed."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from sonoseg.models.engines import CONVERTED
from sonoseg.models.engines.base import EngineType


def _engine_type(place: str) -> EngineType:
    module, _, name = place.rpartition(".")
    return getattr(import_module(f"sonoseg.models.engines.{module}"), name)


ENGINE_TYPES: dict[str, EngineType] = {name: _engine_type(place) for name, place in CONVERTED.items()}


def installed() -> dict[str, str]:
    """Return engine -> version of the installed ones, without importing them."""
    versions = {name: version_of(engine.package) for name, engine in ENGINE_TYPES.items()}
    return {name: number for name, number in versions.items() if number}


def version_of(package: str) -> str:
    """Return the version of a package, empty when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
