"""What follows from pairs of image and mask that are known: further masks of a structure, and other pictures."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from sonoseg.annotations.masks.files import FURTHER
from sonoseg.new_task.contents import Contents, is_usable
from sonoseg.new_task.masks.pairs import Pair
from sonoseg.new_task.masks.samples import is_binary

MOST_SEVERAL = 0.5
"""Part of the images with a mask that have several numbered ones, up to which these are parts of one structure."""
MOST_IGNORED = 3
OFTEN = 0.5
"""Part of the images with a mask, from which as many other pictures of one ending are a kind of pictures."""


def without_crossed(pairs: Sequence[Pair], contents: Contents) -> list[Pair]:
    """Return the pairs without those of images of one folder and masks of another's images, as the names with `*` tell.

    `train/images` and `test/masks` may have equal names by chance: every folder numbers its images.
    """
    starred = [pair for pair in pairs if pair.images not in contents.images and pair.images != pair.masks]
    patterns = [
        tuple(re.escape(one).replace(r"\*", "([^/]+)") for one in (pair.images, pair.masks)) for pair in starred
    ]

    def is_crossed(pair: Pair) -> bool:
        for images, masks in patterns:
            found = re.fullmatch(images, pair.images), re.fullmatch(masks, pair.masks)
            if found[0] and found[1] and found[0].groups() != found[1].groups():
                return True
        return False

    return [pair for pair in pairs if pair.images not in contents.images or not is_crossed(pair)]


def with_further_masks(pairs: Sequence[Pair], contents: Contents) -> list[Pair]:
    """Return the pairs; those whose images have several binary masks with numbers in their names are one, `unite`.

    `a_mask` and `a_mask_1`, or `a_other1` and `a_other2`. Where most images have several, each number may be a
    structure of its own, and nothing is united.
    """
    found = list(pairs)
    for pair in pairs:
        base = FURTHER.sub("", pair.mask_suffix) if re.search(r"\d$", pair.mask_suffix) else pair.mask_suffix
        if pair not in found or not re.search("[A-Za-z]", base):
            continue
        united = _united(replace(pair, mask_suffix=base, unite=True), contents)
        if united:
            parts = re.compile(f"{re.escape(base)}(?:{FURTHER.pattern})?")
            found = [one for one in found if not (_place(one) == _place(pair) and parts.fullmatch(one.mask_suffix))]
            found.append(united)
    return found


def _place(pair: Pair) -> tuple[str, str, str]:
    return pair.images, pair.masks, pair.image_suffix


def _united(pair: Pair, contents: Contents) -> Pair | None:
    """Return a pair whose images have further masks, with its numbers; None where they have none, or too many."""
    end = re.compile(f"(.*){re.escape(pair.mask_suffix)}({FURTHER.pattern})?", re.DOTALL)
    names = contents.names_in(pair.masks)
    masks = [match for name in names if (match := end.fullmatch(name))]
    beside = pair.images == pair.masks
    others = contents.names_in(pair.images) if not beside else [name for name in names if not end.fullmatch(name)]
    images = {name.removesuffix(pair.image_suffix) for name in others if name.endswith(pair.image_suffix)}
    counts = Counter(match[1] for match in masks if match[1] in images)
    several = sum(count > 1 for count in counts.values())
    if not several or several > MOST_SEVERAL * len(counts):
        return None
    united = replace(pair, total=len(images), count=len(counts))
    return united if is_binary([mask for _, mask in united.sampled(contents)]) else None


def with_ignored(pair: Pair, contents: Contents) -> Pair:
    """Return the pair with the ends of other pictures in the folder of the masks, as many as masks: `1` and `1_binary`.

    They would be masks without an image. Only such that are pictures of an image that has a mask count.
    """
    if pair.masks == pair.images:
        return pair
    ends: dict[str, int] = defaultdict(int)
    shared = set(pair.names(contents))
    for stem in contents.names_in(pair.masks):
        name = next((stem[:at] for at in range(len(stem) - 1, 0, -1) if stem[:at] in shared), None)
        if name is not None and stem.endswith(pair.mask_suffix) and stem.removesuffix(pair.mask_suffix) not in shared:
            ends[stem.removeprefix(name)] += 1
    kinds = sorted((end for end, count in ends.items() if count >= OFTEN * pair.count), key=len)
    kinds = [end for at, end in enumerate(kinds) if not end.endswith(tuple(kinds[:at]))]
    is_told = all(re.search("[A-Za-z]", end) and is_usable(end) for end in kinds)
    return replace(pair, ignore=tuple(kinds)) if is_told and len(kinds) <= MOST_IGNORED else pair
