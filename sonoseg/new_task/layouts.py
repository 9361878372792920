"""The ways in which a folder can be read: where images and annotations are, and in which format."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.annotations.frames import split_frame
from sonoseg.annotations.labelled import spellings
from sonoseg.errors import choices
from sonoseg.io.image_ref import stem_of
from sonoseg.new_task.contents import Contents
from sonoseg.new_task.label_files import described
from sonoseg.new_task.masks.pairs import Pair, nested_pairs, pairs_of, structures_of_pairs
from sonoseg.new_task.masks.refine import with_further_masks, with_ignored, without_crossed
from sonoseg.new_task.masks.samples import is_pair_of_image_and_mask
from sonoseg.new_task.masks.stars import described as described_stars

LEAST_SHARE = 0.5
"""Part of the images that an annotation tool's file annotates, from which it comes before masks."""


@dataclass(frozen=True)
class Layout:
    """One way to read a folder. section: `annotations` of a task file. images, annotated, masks: how many there are.

    masks: files, so that masks of all structures count more than those of one; 0 in other formats.
    """

    section: Mapping[str, Any]
    images: int
    annotated: int
    reason: str
    masks: int = 0

    @property
    def is_masks(self) -> bool:
        return self.section["format"] == "mask_folder"


def find_layouts(contents: Contents) -> list[Layout]:
    """Return the ways in which a folder can be read, the best first; empty without any.

    Files of an annotation tool come before pairs of pictures where they annotate most images; then the layout counts
    with most annotations.
    """
    found = [*_label_layouts(contents), *_mask_layouts(contents)]

    def rank(layout: Layout) -> tuple[bool, int, int]:
        by_tool = not layout.is_masks and layout.annotated >= LEAST_SHARE * layout.images
        return not by_tool, -max(layout.annotated, layout.masks), layout.images

    return sorted(found, key=rank)


def _label_layouts(contents: Contents) -> list[Layout]:
    """Return the layouts of annotation tools' files: one per file, and one per folder of labelme's."""
    layouts: list[Layout] = []
    labelme: dict[str, list[str]] = {}
    for path in contents.texts:
        name = path.relative_to(contents.folder).as_posix()
        try:
            kind, names = described(path)
        except ValueError as problem:
            contents.note(f"{name}: {problem}")
            continue
        if kind == "labelme":
            labelme.setdefault(path.parent.relative_to(contents.folder).as_posix(), []).append(path.stem)
        elif kind:
            where, count = _named_most(names, contents)
            reason = f"{name} is a file of {kind}, and names {count} images of {where}/"
            layouts.append(Layout({"format": kind, "images": where, "file": name}, 0, count, reason))
    for folder, stems in labelme.items():
        where, count = _named_most(stems, contents, folder)
        section = {"format": "labelme", "images": where, "annotations": folder}
        layouts.append(Layout(section, 0, count, f"{len(stems)} JSON files of labelme in {folder}/"))
    for layout in layouts:
        if not layout.annotated:
            contents.note(f"{layout.reason}, but none of a picture that is there")
    return [
        Layout(one.section, len(contents.images[one.section["images"]]), one.annotated, one.reason)
        for one in layouts
        if one.annotated
    ]


def _named_most(names: Iterable[str], contents: Contents, beside: str = "") -> tuple[str, int]:
    """Return the folder with most of the images of these names, and their number; of equals the one `beside`."""
    spelled = {candidate for name in names for candidate in spellings(name)}
    # `frame_000006` is what CVAT calls a frame of a video.
    frames = {found[0] for name in spelled for text in (name, Path(name).stem) if (found := split_frame(text))}
    frames |= contents.with_frames if "frame" in frames and len(contents.with_frames) == 1 else set()
    counts = Counter(
        {
            where: sum(
                path.name in spelled
                or (stem := stem_of(path)) in spelled
                or (stem in frames and stem in contents.with_frames)
                for path in paths
            )
            for where, paths in contents.images.items()
        }
    )
    where = max(counts, key=lambda one: (counts[one], one == beside, -len(one)), default="")
    return where, counts[where]


def _mask_layouts(contents: Contents) -> list[Layout]:
    """Return the layouts of pictures that are pairs of image and mask, by name and by what they show."""
    pairs = [pair for pair in pairs_of(contents) if is_pair_of_image_and_mask(pair.sampled(contents), contents)]
    pairs += [
        pair for pair in nested_pairs(pairs, contents) if is_pair_of_image_and_mask(pair.sampled(contents), contents)
    ]
    pairs = with_further_masks(without_crossed(pairs, contents), contents)
    combined = structures_of_pairs(pairs, contents)
    alone = [with_ignored(pair, contents) for pair in pairs]
    return [*(_combined(pairs, contents) for pairs in combined), *(_layout(pair, contents) for pair in alone)]


def _layout(pair: Pair, contents: Contents) -> Layout:
    image, mask = (f"{prefix} at the beginning" if prefix else "" for prefix in pair.prefixes)
    end = f"{pair.mask_suffix} at the end" if pair.mask_suffix else ""
    if pair.images == pair.masks:
        how = f"a picture with {end} of the name"
    elif mask or image:
        what = " and ".join(filter(None, (mask, end))) or "neither"
        how = f"a picture with {what}{f' in place of {pair.prefixes[0]}' if image else ''} in {pair.masks}/"
    else:
        how = f"a picture {f'with {end}' if end else 'of the same name'} in {pair.masks}/"
    stars = "" if pair.images in contents.images else described_stars(list(contents.starred[pair.images].values()))
    reason = f"{pair.count} of {pair.total} images in {pair.images}/{stars}{_image_end(pair)} have {how}"
    if pair.unite:
        reason += "; some have further ones, with a number after it, which are united"
    if pair.ignore:
        reason += f"; pictures with {choices(list(pair.ignore))} at the end are not used"
    return Layout(_section([pair], pair.masks, pair.mask_suffix), pair.total, pair.count, reason, pair.count)


def _image_end(pair: Pair) -> str:
    """Return which pictures of a folder are the images, where their ending tells: else two layouts read the same."""
    return f" with {pair.image_suffix} at the end" if pair.image_suffix else ""


def _combined(pairs: Mapping[str, Pair], contents: Contents) -> Layout:
    """Return the layout of binary masks for each structure, in folders or with suffixes of their own."""
    first = next(iter(pairs.values()))
    folders, suffixes = ({name: getattr(pair, of) for name, pair in pairs.items()} for of in ("masks", "mask_suffix"))
    beside = {name for pair in pairs.values() if pair.masks == pair.images for name in pair.mask_names(contents)}
    images = [
        name.removesuffix(first.image_suffix)
        for name in contents.names_in(first.images)
        if name.endswith(first.image_suffix) and name not in beside
    ]
    annotated = {name for pair in pairs.values() for name in pair.names(contents)} & {*images}
    by_folder, by_suffix = (len({*texts.values()}) > 1 for texts in (folders, suffixes))
    places = [
        (f"{pair.masks}/" if by_folder else "") + (f"*{pair.mask_suffix}" if by_suffix else "")
        for pair in pairs.values()
    ]
    counted = ", ".join(f"{place} ({pair.count})" for place, pair in zip(places, pairs.values(), strict=True))
    which = f"{len(annotated)} of {len(images)} images{_image_end(first)}"
    reason = f"binary masks of each structure for {which}: {counted}"
    if united := [place for place, pair in zip(places, pairs.values(), strict=True) if pair.unite]:
        reason += f"; those of {choices(united)} with a number after it are united"
    masks, suffix = folders if by_folder else first.masks, suffixes if by_suffix else first.mask_suffix
    section = _section(list(pairs.values()), masks, suffix)
    return Layout(section, len(images), len(annotated), reason, sum(pair.count for pair in pairs.values()))


def _section(pairs: Sequence[Pair], masks: str | dict[str, str], suffix: str | dict[str, str]) -> dict[str, Any]:
    first = pairs[0]
    section = {"format": "mask_folder", "images": first.images, "masks": masks, "mask_suffix": suffix}
    fields = {
        "image_suffix": first.image_suffix,
        "image_prefix": first.prefixes[0],
        "mask_prefix": first.prefixes[1],
        "unite": any(pair.unite for pair in pairs),
        "ignore": list(first.ignore),
    }
    return section | {name: value for name, value in fields.items() if value}
