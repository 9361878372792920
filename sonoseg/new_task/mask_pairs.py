"""Pictures whose names pair them as image and mask: by endings in one folder, or in two folders."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

from sonoseg.errors import choices
from sonoseg.new_task.contents import Contents, is_usable
from sonoseg.new_task.mask_samples import are_copies, is_binary
from sonoseg.new_task.names import telling_names

LEAST_SHARE = 0.1
"""Part of the images with a mask, below which equal names are chance."""
MOST_FOLDERS = 40
"""Folders, those with most pictures, that are compared with each other."""
MOST_PAIRS = 60
SAMPLED = 6
"""Pairs of pictures that are looked at."""
READERS = re.compile(r"reader|expert|observer|annotator|rater|doctor|physician", re.IGNORECASE)


@dataclass(frozen=True)
class Pair:
    """A rule that pairs pictures: `<name><image_suffix>` in the folder `images`, `<name><mask_suffix>` in `masks`.

    total: images; count: those with a mask.
    """

    images: str
    masks: str
    image_suffix: str
    mask_suffix: str
    total: int
    count: int

    def sampled(self, contents: Contents) -> list[tuple[Path, Path]]:
        """Return (image, mask) paths of some pairs, evenly over the names."""
        images = _by_name(contents.images[self.images], self.image_suffix, contents)
        masks = _by_name(contents.images[self.masks], self.mask_suffix, contents)
        names = sorted(images.keys() & masks.keys())
        chosen = names if len(names) <= SAMPLED else [names[at * len(names) // SAMPLED] for at in range(SAMPLED)]
        return [(images[name], masks[name]) for name in chosen]


def pairs_of(contents: Contents) -> list[Pair]:
    """Return the rules that pair some pictures of a folder by their names, those with most pairs first."""
    largest = sorted(contents.images, key=lambda where: -len(contents.images[where]))
    if len(largest) > MOST_FOLDERS:
        contents.note(
            f"pictures lie in {len(largest)} folders, and only the {MOST_FOLDERS} with most of them were compared; "
            "put the images into one folder, and their masks into another"
        )
    stems = {where: list(dict.fromkeys(map(contents.stem, contents.images[where]))) for where in largest[:MOST_FOLDERS]}
    found = [pair for where in stems for pair in _in_one_folder(where, stems[where])]
    found += [pair for where in stems for other in stems if where != other for pair in _in_two(where, other, stems)]
    found = [one for one in dict.fromkeys(found) if one.count >= max(1, LEAST_SHARE * one.total)]
    found = [one for one in found if is_usable(one.image_suffix) and is_usable(one.mask_suffix)]
    return sorted(found, key=lambda one: (-one.count, one.total))[:MOST_PAIRS]


def _in_one_folder(where: str, stems: Sequence[str]) -> Iterator[Pair]:
    for suffix, count in _suffixes(stems, stems).most_common(4):
        yield Pair(where, where, "", suffix, len(stems) - count, count)
    for first, second in _endings(stems):
        for image, mask in ((first, second), (second, first)):
            images = {stem.removesuffix(image) for stem in stems if stem.endswith(image)}
            masks = {stem.removesuffix(mask) for stem in stems if stem.endswith(mask)}
            yield Pair(where, where, image, mask, len(images), len(images & masks))


def _in_two(where: str, other: str, stems: Mapping[str, Sequence[str]]) -> Iterator[Pair]:
    for image_suffix in dict.fromkeys(("", _common_ending(stems[where]))):
        names = [stem.removesuffix(image_suffix) for stem in stems[where]]
        for suffix, count in _suffixes(names, stems[other]).most_common(2):
            yield Pair(where, other, image_suffix, suffix, len(names), count)


def _suffixes(names: Sequence[str], others: Sequence[str]) -> Counter[str]:
    """Return how often a name of `others` is one of `names` and a suffix; the longest such name is meant."""
    known, counts = set(names), Counter[str]()
    for other in others:
        for length in range(len(other) - (names is others), 0, -1):
            if other[:length] in known:
                counts[other[length:]] += 1
                break
    return counts


def _endings(stems: Sequence[str]) -> list[tuple[str, str]]:
    """Return the most frequent endings, neither empty, by which neighbours in the order of names differ."""
    counts = Counter[tuple[str, str]]()
    ordered = sorted(stems)
    for one, other in pairwise(ordered):
        length = len(_common_start(one, other).rstrip("_-. "))
        if 0 < length < len(one):
            counts[one[length:], other[length:]] += 1
    return [endings for endings, count in counts.most_common(3) if count >= max(1, LEAST_SHARE * len(stems))]


def _common_start(one: str, other: str) -> str:
    return "".join(first for first, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _common_ending(stems: Sequence[str]) -> str:
    """Return the ending that all names share, from its first letter that is no digit on, such as `_image`."""
    if len(stems) < 2:
        return ""
    backwards = sorted(stem[::-1] for stem in stems)
    ending = _common_start(backwards[0], backwards[-1])[::-1].lstrip("0123456789")
    return ending if all(len(ending) < len(stem) for stem in stems) else ""


def _by_name(paths: Sequence[Path], suffix: str, contents: Contents) -> dict[str, Path]:
    stems = {contents.stem(path): path for path in paths}
    return {stem.removesuffix(suffix): path for stem, path in stems.items() if stem.endswith(suffix)}


def classes_of_folders(pairs: Sequence[Pair], contents: Contents) -> list[dict[str, Pair]]:
    """Return {name of a structure: pair} for each group of folders whose binary masks belong to the same images.

    Folders that are copies of each other, or named after people who annotated, are no structures: with a note.
    """
    by_images: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        _note_other_suffix(pair, pairs, contents)
        if pair.masks != pair.images and is_binary([mask for _, mask in pair.sampled(contents)], contents):
            by_images[pair.images, pair.image_suffix, pair.mask_suffix].append(pair)
    groups = []
    for group in by_images.values():
        distinct: list[Pair] = []
        for pair in sorted(group, key=lambda one: one.masks):
            masks = [mask for _, mask in pair.sampled(contents)]
            copies = [other for other in distinct if are_copies(masks, [m for _, m in other.sampled(contents)])]
            if copies:
                contents.note(f"{pair.masks}/ has the masks of {copies[0].masks}/ once more")
            else:
                distinct.append(pair)
        folders = [pair.masks for pair in distinct]
        if any(READERS.search(folder) for folder in folders):
            contents.note(f"{choices(folders)}: masks of several people for the same images; only one folder is used")
        elif len(distinct) > 1:
            groups.append(dict(zip(telling_names(folders), distinct, strict=True)))
    return groups


def _note_other_suffix(pair: Pair, pairs: Sequence[Pair], contents: Contents) -> None:
    """Note that images have several masks in one folder, told apart by their suffix, of which a task can name one."""
    where = (pair.images, pair.masks, pair.image_suffix)
    same = sorted({one.mask_suffix for one in pairs if (one.images, one.masks, one.image_suffix) == where})
    if len(same) > 1:
        contents.note(
            f"images of {pair.images}/ have several masks in {pair.masks}/, with {choices(same)} at the end; put the "
            "masks of each structure into a folder of their own, without these endings"
        )
