"""What the results of Label Studio say of shapes and images besides the shapes; it is only counted."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sonoseg.annotations.label_studio.results import LABELLED, OWN_KEY
from sonoseg.annotations.unread import Unread, count_unread, filled_names, is_filled

NO_SHAPES = ("choices", "datetime", "number", "pairwise", "ranker", "rating", "relation", "taxonomy", "textarea")
"""Types of results that say something about an image or a shape; a shape's have its id."""

_FIELDS = (
    *("id", "type", "from_name", "to_name", "value", "image_rotation", "original_width", "original_height"),
    *("origin", "hidden", "locked", "readonly", "selected"),
)
_VALUES = (
    *("points", "closed", "x", "y", "width", "height", "radiusX", "radiusY", "rotation", "format", "rle"),
    *LABELLED,
)
"""What a result, and its value, says besides attributes."""


def unread_of(results: Sequence[Mapping[str, Any]], used: Sequence[int]) -> Unread:
    """Return the attributes of an image and of its shapes; used: positions of the shapes that are read.

    Of choices, texts and the like the name of their control, `from_name`, counts. Those of no shape are the image's.
    """
    unread, said = Unread(), defaultdict[str | None, list[str]](list)
    for result in results:
        kind, value, name = result.get("type"), result.get("value"), result.get("from_name")
        field = "text" if kind == "textarea" else str(kind)
        if kind in NO_SHAPES and (not isinstance(value, dict) or is_filled(field, value.get(field, value))):
            said[_id(result)].append(name if isinstance(name, str) and name else str(kind))
    for index in used:
        result = results[index]
        own = said[key] if (key := _id(result)) is not None else []
        meta = result.get("meta")
        if isinstance(meta, dict):
            meta = [*filled_names(meta, (OWN_KEY,))]
        own = [*own, *filled_names({**result, "meta": meta}, _FIELDS), *filled_names(result["value"], _VALUES)]
        count_unread(unread, own)
    shapes = {_id(result) for result in results if result.get("type") not in NO_SHAPES} - {None}
    of_image = [name for key, names in said.items() if key not in shapes for name in names]
    count_unread(unread, of_image, "image")
    return unread


def _id(result: Mapping[str, Any]) -> str | None:
    return key if isinstance(key := result.get("id"), str) else None
