"""YAML of people's task files: mappings, lists, text, finite numbers, booleans and null, within limits."""

import math
import unicodedata
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from sonoseg.errors import TaskError

MAX_BYTES = 1 << 18
"""Largest task file: 50 times the longest one that comes with SonoSeg."""
MAX_VALUES = 4_000
"""Values of a file, those counted again that an alias repeats: a dozen lines of nested aliases stand for billions."""
MAX_DEPTH = 50
"""Levels of nested lists and mappings."""
MAX_INTEGER = 1 << 63


def read_yaml(path: Path) -> Any:
    """Return the value of a YAML file. Raises TaskError, with the line where there is one, for anything else."""
    with path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TaskError(f"{path}: larger than {MAX_BYTES >> 10} KiB; expected a task file")
    try:
        return _Loader(data.decode("utf-8-sig")).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(f"{error.problem or error.context}".split())
        remedy = "" if ";" in problem else "; correct the line"
        raise TaskError(f"{path}{where}: not readable as YAML: {problem}{remedy}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise TaskError(f"{path}: not readable as YAML: {problem}; save it as UTF-8 text") from None


class _Loader(yaml.SafeLoader):
    """Values as JSON has them. PyYAML itself keeps the last of two equal keys, and has no limit on size or depth."""

    def __init__(self, text: str):
        super().__init__(text)
        self._values, self._depth = 0, 0
        self._size_of: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()
        before, self._values, self._depth = self._values, self._values + 1, self._depth + 1
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias and event.anchor in self.anchors:
            self._values += self._size_of.get(id(self.anchors[event.anchor]), MAX_VALUES)  # unfinished: endless
        if self._values > MAX_VALUES:
            _refuse(event, f"more than {MAX_VALUES} values, counting all that aliases (*name) repeat; remove some")
        if self._depth > MAX_DEPTH:
            _refuse(event, f"more than {MAX_DEPTH} levels of lists and mappings; remove some")
        if getattr(event, "tag", None) is not None:
            _refuse(event, f"found the tag {_cut(event.tag)}; write the value without it")
        node: Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if not is_alias:
            self._size_of[id(node)] = self._values - before
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:int":  # JSON has no other keys than text
                key.tag = "tag:yaml.org,2002:str"
            if key.tag != "tag:yaml.org,2002:str" and key.tag != "tag:yaml.org,2002:merge":
                _refuse(key, f"a key that is no text, {_shown(key)}; put it in quotes")
            if key.value in seen:
                _refuse(key, f"key {_shown(key)} is there twice; remove one")
            seen.add(key.value)
        return node

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and any(
            unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t" for letter in value
        ):
            _refuse(node, f"a control character or half of a surrogate pair in {_shown(node)}; remove it")
        return value

    def construct_yaml_int(self, node: ScalarNode) -> int:
        try:
            value = super().construct_yaml_int(node)
        except ValueError:
            value = MAX_INTEGER
        if abs(value) >= MAX_INTEGER:
            _refuse(node, f"{_shown(node)} is no number of at most 18 digits; correct it")
        return value

    def construct_yaml_float(self, node: ScalarNode) -> float:
        try:
            value = super().construct_yaml_float(node)
        except (ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            _refuse(node, f"{_shown(node)} is no finite number; correct it")
        return value


_Loader.yaml_implicit_resolvers = {  # a date is text: no field of a task is a date
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def _shown(node: Node) -> str:
    return _cut(node.value) if isinstance(node, ScalarNode) else "a list or mapping"


def _cut(text: str) -> str:
    return ascii(text if len(text) <= 40 else f"{text[:37]}...")


def _refuse(place: Any, problem: str) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)
