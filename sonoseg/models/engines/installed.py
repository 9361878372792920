"""The engines that run conversions, and the versions of those that are installed."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from sonoseg.models.engines import CONVERTED
from sonoseg.models.engines.base import EngineType


def _engine_type(location: str) -> EngineType:
    module, _, name = location.rpartition(".")
    return getattr(import_module(f"sonoseg.models.engines.{module}"), name)


ENGINE_TYPES: dict[str, EngineType] = {name: _engine_type(location) for name, location in CONVERTED.items()}


def installed() -> dict[str, str]:
    """Return the installed engines, name -> version, without importing them."""
    versions = {name: version_of(engine.package) for name, engine in ENGINE_TYPES.items()}
    return {name: number for name, number in versions.items() if number}


def version_of(package: str) -> str:
    """Return the version of a package, empty when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
