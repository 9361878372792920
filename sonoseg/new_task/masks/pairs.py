"""Pictures whose names pair them as image and mask: by endings in one folder, or in two folders."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations, takewhile
from pathlib import Path
from typing import Any

from sonoseg.annotations.masks.files import FURTHER
from sonoseg.errors import choices
from sonoseg.new_task.contents import Contents, is_usable
from sonoseg.new_task.masks.colors import colors_of
from sonoseg.new_task.masks.samples import are_copies, is_binary
from sonoseg.new_task.names import telling_names

LEAST_SHARE = 0.1
"""Part of the images with a mask, below which equal names are chance."""
MOST_FOLDERS = 40
"""Folders, those with most pictures, that are compared with each other."""
MOST_PAIRS = 60
MOST_SUFFIXES = 8
"""Ends of names in one folder that are looked at."""
SAMPLED = 6
"""Pairs of pictures that are looked at."""
READERS = re.compile(r"reader|expert|observer|annotator|rater|doctor|physician", re.IGNORECASE)


@dataclass(frozen=True)
class Pair:
    """A rule that pairs pictures: `<name><image_suffix>` in the folder `images`, `<name><mask_suffix>` in `masks`.

    total: images; count: those with a mask. The folders may have `*`, see `starred_folders`. prefixes: of image and
    mask, before the name. unite: images have further masks, with a number at the end. ignore: ends of names of further
    pictures in the folder of the masks.
    """

    images: str
    masks: str
    image_suffix: str
    mask_suffix: str
    total: int
    count: int
    prefixes: tuple[str, str] = ("", "")
    unite: bool = False
    ignore: tuple[str, ...] = ()

    def sampled(self, contents: Contents) -> list[tuple[Path, Path]]:
        """Return (image, mask) paths of some pairs, evenly over the names."""
        images, masks, names = self._paired(contents)
        chosen = names if len(names) <= SAMPLED else [names[at * len(names) // SAMPLED] for at in range(SAMPLED)]
        return [(images[name], masks[name]) for name in chosen]

    def names(self, contents: Contents) -> list[str]:
        """Return the names that images and masks share, in order."""
        return self._paired(contents)[2]

    def mask_names(self, contents: Contents) -> set[str]:
        """Return the names of all masks in their folder, further ones included."""
        end = re.compile(f".*{re.escape(self.mask_suffix)}(?:{FURTHER.pattern if self.unite else ''})?", re.DOTALL)
        return {name for name in contents.names_in(self.masks) if end.fullmatch(name)}

    def _paired(self, contents: Contents) -> tuple[dict[str, Path], dict[str, Path], list[str]]:
        images = _by_name(self.images, (self.prefixes[0], self.image_suffix), contents)
        masks = _by_name(self.masks, (self.prefixes[1], self.mask_suffix), contents, self.unite)
        return images, masks, sorted(images.keys() & masks.keys())


def pairs_of(contents: Contents) -> list[Pair]:
    """Return the rules that pair some pictures of a folder by their names, those with most pairs first."""
    largest = sorted(contents.images, key=lambda where: -len(contents.images[where]))
    found: list[Pair] = []
    for places in (largest[:MOST_FOLDERS], list(contents.starred)):
        stems = {where: contents.names_in(where) for where in places}
        found += [pair for where in stems for pair in _in_one_folder(where, stems[where])]
        for where, other in permutations(stems, 2):
            if where in contents.images or where.count("*") == other.count("*"):
                found += _in_two(where, other, stems)
    often = {_place(one) for one in found if one.count >= max(1, LEAST_SHARE * one.total)}
    # A rare structure beside a frequent one: its masks would be taken for images, or for nothing.
    found = [one for one in dict.fromkeys(found) if one.count and _place(one) in often]
    found = [one for one in found if all(map(_is_suffix, (one.image_suffix, one.mask_suffix)))]
    if len(largest) > MOST_FOLDERS and all(pair.images in contents.images for pair in found):
        contents.note(
            f"pictures lie in {len(largest)} folders, and only the {MOST_FOLDERS} with most of them were compared; "
            "put the images into one folder, and their masks into another"
        )
    return sorted(found, key=lambda one: (-one.count, one.total))[:MOST_PAIRS]


def nested_pairs(masks: Sequence[Pair], contents: Contents) -> list[Pair]:
    """Return the pairs of masks whose names begin with those of other masks beside the images.

    masks: pairs that are known to be image and mask. `a_nerve` is no image then, and `a_nerve_left` a mask of `a`.
    """
    found = []
    for where in dict.fromkeys(pair.masks for pair in masks if pair.images == pair.masks and not pair.image_suffix):
        stems = contents.names_in(where)
        known = tuple(pair.mask_suffix for pair in masks if pair.images == pair.masks == where)
        names = [stem for stem in stems if not stem.endswith(known)]
        for suffix, count in _suffixes(names, stems, beside=True).most_common(MOST_SUFFIXES):
            if suffix not in known and count >= LEAST_SHARE * len(names) and is_usable(suffix):
                found.append(Pair(where, where, "", suffix, len(names), count))
    return found


def _is_suffix(end: str) -> bool:
    return "/" not in end and is_usable(end)


def _place(pair: Pair) -> tuple[str, str, str, tuple[str, str]]:
    """Return what pairs of the same images and the same folder of masks have in common."""
    return pair.images, pair.masks, pair.image_suffix, pair.prefixes


def _in_one_folder(where: str, stems: Sequence[str]) -> Iterator[Pair]:
    for suffix, count in _suffixes(stems, stems, beside=True).most_common(MOST_SUFFIXES):
        yield Pair(where, where, "", suffix, len(stems) - count, count)
    names = {
        ending: {stem.removesuffix(ending) for stem in stems if stem.endswith(ending)} for ending in _endings(stems)
    }
    for image, mask in permutations(names, 2):
        yield Pair(where, where, image, mask, len(names[image]), len(names[image] & names[mask]))


def _in_two(where: str, other: str, stems: Mapping[str, Sequence[str]]) -> Iterator[Pair]:
    for image_suffix in dict.fromkeys(("", _common_ending(stems[where]))):
        names = [stem.removesuffix(image_suffix) for stem in stems[where]]
        for suffix, count in _suffixes(names, stems[other]).most_common(MOST_SUFFIXES):
            yield Pair(where, other, image_suffix, suffix, len(names), count)
    if "/" not in stems[where][0]:
        prefixes = _common_beginning(stems[where]), _common_beginning(stems[other])
        names, others = (
            [stem.removeprefix(prefix) for stem in stems[one]]
            for one, prefix in zip((where, other), prefixes, strict=True)
        )
        if prefixes[0] != prefixes[1]:
            for suffix, count in _suffixes(names, others).most_common(1):
                yield Pair(where, other, "", suffix, len(names), count, prefixes)


def _suffixes(names: Sequence[str], others: Sequence[str], beside: bool = False) -> Counter[str]:
    """Return how often a name of `others` is one of `names` and a suffix; the longest such name is meant.

    beside: in the same folder, where no suffix is empty.
    """
    known, counts = set(names), Counter[str]()
    for other in others:
        for length in range(len(other) - beside, 0, -1):
            if other[:length] in known:
                counts[other[length:]] += 1
                break
    return counts


def _endings(stems: Sequence[str]) -> list[str]:
    """Return the most frequent endings, none empty, by which neighbours in the order of names differ."""
    counts = Counter[str]()
    ordered = sorted(stems)
    for one, other in pairwise(ordered):
        length = len(_common_start(one, other).rstrip("_-. "))
        if 0 < length < len(one):
            counts.update((one[length:], other[length:]))
    frequent = counts.most_common(MOST_SUFFIXES + 1)
    return [ending for ending, count in frequent if count >= max(1, LEAST_SHARE * len(stems))]


def _common_start(one: str, other: str) -> str:
    return "".join(first for first, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _common_ending(stems: Sequence[str]) -> str:
    """Return the ending that all names share, from its first letter that is no digit on, such as `_image`."""
    if len(stems) < 2:
        return ""
    backwards = sorted(stem[::-1] for stem in stems)
    ending = _common_start(backwards[0], backwards[-1])[::-1].lstrip("0123456789")
    return ending if all(len(ending) < len(stem) for stem in stems) else ""


def _common_beginning(stems: Sequence[str]) -> str:
    """Return the beginning that all names share, up to its last letter or mark that is no digit, such as `mask_`."""
    beginning = _common_start(min(stems), max(stems)).rstrip("0123456789") if len(stems) > 1 else ""
    return beginning if all(len(beginning) < len(stem) for stem in stems) else ""


def _by_name(where: str, ends: tuple[str, str], contents: Contents, unite: bool = False) -> dict[str, Path]:
    """Return {shared name: picture} of a folder; ends: prefix and suffix. unite: also with a number after the suffix.

    Of several pictures with a shared name the first one, by its name, is meant.
    """
    number = f"(?:{FURTHER.pattern})?" if unite else ""
    name = re.compile(f"((?:.*/)?){re.escape(ends[0])}(.*){re.escape(ends[1])}{number}", re.DOTALL)
    found: dict[str, Path] = {}
    for path in sorted(contents.pictures_in(where), key=contents.stem, reverse=True):
        if match := name.fullmatch(contents.name_in(path, where)):
            found[match[1] + match[2]] = path
    return found


def structures_of_pairs(pairs: Sequence[Pair], contents: Contents) -> list[dict[str, Pair]]:
    """Return {name of a structure: pair} for each group of binary masks that belong to the same images.

    The masks of a group lie in folders of their own, or have suffixes of their own, or both. Those that are copies of
    each other, or named after people who annotated, are no structures: with a note.
    """
    binary = [pair for pair in pairs if is_binary([mask for _, mask in pair.sampled(contents)])]
    colored = [pair for pair in pairs if pair not in binary and colors_of(mask for _, mask in pair.sampled(contents))]
    for group in _grouped(colored, lambda pair: (pair.images, pair.image_suffix, pair.prefixes)):
        contents.note(
            f"{choices([_masks(pair, group) for pair in group])}: several masks in colours for the same images, of "
            "which those of one are used; save masks of one structure each in black and white"
        )
    apart = [pair for pair in binary if pair.masks != pair.images]
    groups = [
        *_grouped(apart, lambda pair: (pair.images, pair.image_suffix, pair.mask_suffix, pair.prefixes)),
        *_grouped(binary, _place),
    ]
    # Folders and suffixes at once: the suffix that most masks of a folder have.
    first = {(pair.images, pair.image_suffix, pair.masks, pair.prefixes): pair for pair in reversed(apart)}
    groups += [
        group
        for group in _grouped(list(first.values()), lambda pair: (pair.images, pair.image_suffix, pair.prefixes))
        if len({pair.mask_suffix for pair in group}) == len(group)
    ]
    return [found for group in groups if (found := _named(group, contents))]


def _grouped(pairs: Sequence[Pair], key: Callable[[Pair], Any]) -> list[list[Pair]]:
    """Return the pairs with the same key, at least two, in the order of their names."""
    groups: dict[Any, list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: (pair.masks, pair.mask_suffix)):
        groups[key(pair)].append(pair)
    return [group for group in groups.values() if len(group) > 1]


def _named(group: Sequence[Pair], contents: Contents) -> dict[str, Pair]:
    """Return {name of a structure: pair}; empty where fewer than two are structures."""
    distinct: list[Pair] = []
    # Of suffixes that differ in letter case the most frequent one is meant; stage 1 names the others.
    spelled = {(one.masks, one.mask_suffix.casefold()): one for one in sorted(group, key=lambda one: one.count)}
    for pair in [one for one in group if one in spelled.values()]:
        masks = [mask for _, mask in pair.sampled(contents)]
        copies = [other for other in distinct if are_copies(masks, [m for _, m in other.sampled(contents)])]
        if copies:
            contents.note(f"{_masks(pair, group)} has the masks of {_masks(copies[0], group)} once more")
        else:
            distinct.append(pair)
    named = [_masks(pair, group) for pair in distinct]
    if len(distinct) < 2:
        return {}
    if any(READERS.search(name) for name in named):
        contents.note(f"{choices(named)}: masks of several people for the same images; only those of one are used")
        return {}
    folders = [pair.masks for pair in distinct]
    names = telling_names(folders if len({*folders}) == len(folders) else named)
    if any(name.startswith("CLASS_") for name in names):
        names = telling_names(named)
    return dict(zip(names, distinct, strict=True))


def _masks(pair: Pair, group: Sequence[Pair]) -> str:
    """Return what tells the masks of a pair from the others of its group: folder, suffix, or both."""
    folders, suffixes = {one.masks for one in group}, {one.mask_suffix for one in group}
    return " ".join([pair.masks] * (len(folders) > 1) + [pair.mask_suffix] * (len(suffixes) > 1))
