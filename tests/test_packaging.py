"""Metadata of the package: ranges and pins of dependencies, version, files that an installed copy needs."""

import re
import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sonoseg
from tests.conftest import REPOSITORY, TRAINING

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
INSTALLED = PROJECT["project"]["dependencies"] + EXTRAS["dicom"] + EXTRAS["review"]
RANGES = {canonicalize_name(r.name): r for r in map(Requirement, INSTALLED)}


def pins(file: str) -> dict[str, str]:
    """Return {package: version} of a requirements file; every line has to be an exact pin."""
    lines = [line for line in (REPOSITORY / file).read_text().splitlines() if line and line[0] not in "#-"]
    found = {}
    for line in lines:
        match = re.fullmatch(r"([\w.-]+)==([\w.+]+)", line)
        assert match, f"{file}: {line} is not an exact pin"
        found[canonicalize_name(match[1])] = match[2]
    return found


def test_every_pin_lies_in_its_range() -> None:
    pinned = pins("requirements.txt")
    assert pinned.keys() == RANGES.keys()
    outside = {name: version for name, version in pinned.items() if not RANGES[name].specifier.contains(version)}
    assert not outside


def test_every_range_has_both_ends() -> None:
    for requirement in [*RANGES.values(), *(Requirement(text) for extra in EXTRAS.values() for text in extra)]:
        assert {part.operator for part in requirement.specifier} == {">=", "<"}, requirement


def test_pins_of_extras_lie_in_their_ranges() -> None:
    pinned = pins("requirements-dev.txt")
    pinned |= pins("requirements-ray.txt")
    for requirement in map(Requirement, EXTRAS["onnxruntime"] + EXTRAS["parquet"] + EXTRAS["ray"]):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])


def test_one_version() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    changes = re.findall(r"^## \[(\d\S*)\]", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sonoseg.__version__ == citation["version"] == changes[0]


MADE = ("__pycache__", "engines")
"""Folders of files that a run makes: byte code, and conversions of the models that come with the package."""
COMES_ALONG = "-openvino_int8."
"""In the name of a conversion that comes with the package."""


def test_all_files_of_the_package_are_installed() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["sonoseg"]
    package = REPOSITORY / "sonoseg"
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file()}
    files = {path for path in files if path.parent.name not in MADE or COMES_ALONG in path.name}
    others = {path for path in files if path.suffix != ".py"}
    assert others == installed
    for folder in {path.parent for path in package.rglob("*.py")}:
        assert (folder / "__init__.py").is_file(), f"{folder} is no package, so it would not be installed"


def test_the_tests_that_make_test_fast_leaves_out_exist() -> None:
    for name in TRAINING:
        module, _, test = name.partition("::")
        assert f"def {test}" in (REPOSITORY / "tests" / module).read_text(), name


def test_the_command_exists() -> None:
    module, function = PROJECT["project"]["scripts"]["sonoseg"].split(":")
    assert callable(getattr(__import__(module, fromlist=[function]), function))
