"""Names of structures, from labels and from the names of folders."""

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import combinations

GENERIC = {
    *("mask", "masks", "annotation", "annotations", "label", "labels", "labelled", "labeled", "seg", "segs", "gt"),
    *("segmentation", "segmentations", "manual", "ground", "truth", "groundtruth", "image", "images", "img", "imgs"),
    *("data", "dataset", "set", "train", "training", "test", "val", "validation", "binary", "png", "tif", "bmp", "jpg"),
    "",
}
"""Words of suffixes and folders that name no structure."""


def structure_names(labels: Sequence[str]) -> dict[str, str]:
    """Return a name of a structure for each label: capitals, digits and underscores, no two the same."""
    names: dict[str, str] = {}
    for label in labels:
        plain = unicodedata.normalize("NFKD", label.upper()).encode("ascii", "ignore").decode()  # Ä as A, ß as SS
        name = re.sub(r"\W+", "_", plain, flags=re.ASCII).strip("_")[:60]
        if not name[:1].isalpha():
            name = f"CLASS_{name or len(names) + 1}"
        base, number = name, 2
        while name in names.values():
            name, number = f"{base}_{number}", number + 1
        names[label] = name
    return names


ALIKE = 0.85
"""Similarity of two labels, 0 to 1 (Ratcliff and Obershelp), from which one may be a misspelling of the other."""


def alike_labels(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of labels that may mean one structure: but for case, spaces or Unicode form, or a misspelling.

    Labels that differ in their numbers only are no pair.
    """
    plain = {label: " ".join(unicodedata.normalize("NFKC", label).casefold().split()) for label in labels}

    def is_alike(first: str, second: str) -> bool:
        if plain[first] == plain[second]:
            return True
        one, other = (re.sub(r"\d", "", plain[label]) for label in (first, second))
        return one != other and SequenceMatcher(None, one, other).ratio() >= ALIKE

    return [pair for pair in combinations(labels, 2) if is_alike(*pair)]


def telling_names(folders: Sequence[str]) -> list[str]:
    """Return a name of a structure for each folder: the words that the others lack and that say more than `mask`."""
    words = [[word for word in re.split(r"[\W_]+", folder) if word.lower() not in GENERIC] for folder in folders]
    common = set.intersection(*(set(one) for one in words)) if len(words) > 1 else set()
    texts = ["_".join(word for word in one if word not in common) for one in words]
    distinct = [text or f"CLASS_{number}" for number, text in enumerate(texts, start=1)]
    if len(set(distinct)) < len(distinct):
        distinct = list(folders)
    named = structure_names(distinct)
    return [named[text] for text in distinct]


def only_name(images: str, masks: str, mask_suffix: str) -> str:
    """Return the name of the only structure: of a word of the masks' suffix or folder; STRUCTURE without one."""
    texts = [mask_suffix] if images == masks else [mask_suffix, masks]
    words = [word for text in texts for word in re.split(r"[^A-Za-z]+", text)]
    telling = [word for word in words if word.lower() not in GENERIC and len(word) > 2]
    return telling[-1].upper() if telling else "STRUCTURE"
