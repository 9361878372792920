"""The split into training folds and test: of patients, never of images; and the check that no patient leaks."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sonoseg.errors import DataError, choices
from sonoseg.io.faults import Fault, warning
from sonoseg.io.names import patient_key
from sonoseg.runs.split_tables import Sample

DRAWS = 20
"""Stratified draws to choose from. Stratification balances patients; the choice balances their images as well."""

GOOD_ENOUGH = 0.005
"""Mean deviation of the shares from their target below which no further draw is tried."""

_TEST = -1
"""Fold of the patients in the test part."""

Flags = NDArray[np.bool_]
Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Split:
    """`fold_of` maps a patient to a cross-validation fold of the training part, from 0, or to None: test."""

    fold_of: dict[str, int | None]
    warnings: list[Fault]


def split_patients(
    images: Iterable[tuple[str, Sequence[bool]]],
    classes: Sequence[str],
    test_size: float,
    folds: int,
    seed: int,
    order: Mapping[str, str] = MappingProxyType({}),
) -> Split:
    """Split patients into training folds and test, alike in the classes that their images show.

    `images` are (patient, one flag per class), one per image in any order: the same set gives the same split. order:
    patient -> what it is sorted by in place of its name, for names that are random. Iterative
    stratification (Sechidis 2011) runs on each patient's union of classes; of 20 seeded draws those with the fewest
    classes missing in a part are considered, and that one is taken whose image counts, in all and per class, lie
    closest to `test_size` and to equal folds. A single patient trains; with fewer patients than folds there are fewer
    folds. Both, unequal shares, and classes that a part or a fold lacks give warnings. No images: no patients.
    """
    patients, counts = _counted(images, order)
    if not patients:
        return Split({}, [])
    tested = min(max(1, round(test_size * len(patients))), len(patients) - 1)
    fold = _divided(counts, (tested, test_size), folds, seed)
    return Split(_fold_of(patients, fold), _warnings(counts, fold, classes, test_size, folds))


def divide_patients(
    images: Iterable[tuple[str, Sequence[bool]]],
    tested: int,
    folds: int,
    seed: int,
    order: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, int | None]:
    """Return patient -> fold of at least one patient, None for the `tested` that test, as `split_patients` divides."""
    patients, counts = _counted(images, order)
    return _fold_of(patients, _divided(counts, (tested, tested / len(patients)), folds, seed))


def class_warnings(
    images: Iterable[tuple[str, Sequence[bool]]], classes: Sequence[str], fold_of: Mapping[str, int | None]
) -> list[Fault]:
    """Return a warning for each class that a part or a fold of a split lacks."""
    patients, counts = _counted(images, {})
    fold = np.array([_TEST if (one := fold_of[name]) is None else one for name in patients])
    warnings = _warnings(counts, fold, classes, 0.0, 0)
    return [one for one in warnings if one.kind != "split"]


def _counted(images: Iterable[tuple[str, Sequence[bool]]], order: Mapping[str, str]) -> tuple[list[str], Counts]:
    """Return the patients in order and their counts: in column 0 their images, in the others those of each class."""
    flags_of: dict[str, list[Sequence[bool]]] = defaultdict(list)
    for patient, flags in images:
        flags_of[patient].append(flags)
    patients = sorted(flags_of, key=lambda name: (order.get(name, name), name))
    return patients, np.array([[len(flags_of[name]), *np.sum(flags_of[name], axis=0)] for name in patients], np.float64)


def _divided(counts: Counts, test: tuple[int, float], folds: int, seed: int) -> NDArray[np.int_]:
    """Return each patient's fold, or `_TEST`. test: how many patients test, and the share that is wanted."""
    tested, share = test
    testing = np.full(len(counts), tested == len(counts))
    if 0 < tested < len(counts):
        testing = _draw_test(counts, tested, share, seed)
    training = np.flatnonzero(~testing)
    used = min(folds, len(training))
    fold = np.where(testing, _TEST, 0)
    if used > 1:
        fold[training] = _draw_folds(counts[training], used, seed)
    return fold


def _fold_of(patients: Sequence[str], fold: NDArray[np.int_]) -> dict[str, int | None]:
    return {name: None if at == _TEST else int(at) for name, at in zip(patients, fold, strict=True)}


def _draw_test(counts: Counts, wanted: int, share: float, seed: int) -> Flags:
    """Return which `wanted` of more patients test. share: of the images that is to test, 0 to 1."""
    # scikit-learn, below this import, takes a second to load: not for --help.
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    patients = len(counts)

    def stratified(seed: int) -> NDArray[np.int_]:
        draw = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=wanted, random_state=seed)
        _, test = next(draw.split(counts, _union(counts)))
        return np.isin(np.arange(patients), test).astype(int)

    def plain(seed: int) -> NDArray[np.int_]:
        order = np.random.default_rng(seed).permutation(patients)
        return (order < wanted).astype(int)

    return _best(stratified, plain, counts, np.array([1 - share, share]), seed).astype(bool)


def _draw_folds(counts: Counts, folds: int, seed: int) -> NDArray[np.int_]:
    """Return each patient's fold; no fold is empty. Needs as many patients as folds."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    def stratified(seed: int) -> NDArray[np.int_]:
        fold = np.zeros(len(counts), dtype=int)
        draw = MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
        for index, (_, members) in enumerate(draw.split(counts, _union(counts))):
            fold[members] = index
        return fold

    def plain(seed: int) -> NDArray[np.int_]:
        return np.random.default_rng(seed).permutation(len(counts)) % folds

    return _best(stratified, plain, counts, np.full(folds, 1 / folds), seed)


def _union(counts: Counts) -> Flags:
    """Return the classes of each patient, after a column that is true for all.

    It makes patients without any class count, and gives the stratifier the two columns that it requires.
    """
    return counts > 0


def _best(
    stratified: Callable[[int], NDArray[np.int_]],
    plain: Callable[[int], NDArray[np.int_]],
    counts: Counts,
    shares: NDArray[np.float64],
    seed: int,
) -> NDArray[np.int_]:
    """Return the draw with the fewest classes missing in a part, and of those the one closest to `shares`.

    Plain draws stand in where, with classes that one patient each has, every stratified one leaves a part empty.
    """
    parts, owners = len(shares), np.count_nonzero(counts, axis=0)
    # A class of fewer patients than parts is missing in some, whatever the draw.
    unavoidable = int(np.maximum(parts - owners[owners > 0], 0).sum())
    for draw in (stratified, plain):
        best: NDArray[np.int_] | None = None
        lowest: tuple[float, float] = (np.inf, np.inf)
        for attempt in np.random.default_rng(seed).integers(2**31, size=DRAWS):
            part_of = draw(int(attempt))
            if len(np.unique(part_of)) < parts:
                continue
            rank = _rank(part_of, counts, shares)
            if rank < lowest:
                best, lowest = part_of, rank
            if lowest[0] <= unavoidable and lowest[1] <= GOOD_ENOUGH:
                break
        if best is not None:
            return best
    raise AssertionError("a plain draw fills every part")


def _rank(part_of: NDArray[np.int_], counts: Counts, shares: NDArray[np.float64]) -> tuple[int, float]:
    """Return how many classes are missing in a part, and how far the shares are from the wanted ones."""
    counts = counts[:, counts.sum(axis=0) > 0]
    totals = np.stack([counts[part_of == part].sum(axis=0) for part in range(len(shares))])
    return int((totals == 0).sum()), _deviation(totals, shares)


def _deviation(totals: Counts, shares: NDArray[np.float64]) -> float:
    """Return the mean distance of the parts' shares from the wanted ones, half for images and half for classes.

    totals: images of each part `(parts, 1 + classes)`, in all and by class.
    """
    got = totals / totals.sum(axis=0)
    distance = np.abs(got - shares[:, None]).mean(axis=0)
    return float((distance[0] + distance[1:].mean()) / 2) if len(distance) > 1 else float(distance[0])


def _warnings(
    counts: Counts, fold: NDArray[np.int_], classes: Sequence[str], test_size: float, folds: int
) -> list[Fault]:
    testing, used = fold == _TEST, int(fold.max()) + 1
    if len(counts) == 1:
        message = (
            "a single patient: all images are in the training part, the test part is empty, and no score can be trusted"
        )
        return [warning("split", message, "split")]
    faults = []
    if used < folds:
        patients = "1 training patient" if used == 1 else f"{used} training patients"
        faults.append(warning("split", f"{used} instead of {folds} folds: the training part has {patients}", "split"))
    share = counts[testing, 0].sum() / counts[:, 0].sum()
    if abs(share - test_size) > 0.05:
        message = (
            f"the test part has {share:.0%} of the images, requested were {test_size:.0%}: "
            "whole patients cannot be divided better"
        )
        faults.append(warning("split", message, "split"))
    for name, in_test, in_all in zip(classes, counts[testing, 1:].sum(axis=0), counts[:, 1:].sum(axis=0), strict=True):
        if in_all == 0:
            faults.append(warning(f"class {name}", "no image shows it", "class_missing"))
        elif in_test in (0, in_all):
            side = "test" if in_test == 0 else "training"
            faults.append(warning(f"class {name}", f"no image of the {side} part shows it", "class_missing"))
    return faults + _missing_in_folds(counts, fold, classes)


def _missing_in_folds(counts: Counts, fold: NDArray[np.int_], classes: Sequence[str]) -> list[Fault]:
    """Return a warning for each class that the training part shows, but one or more of its folds do not."""
    faults = []
    for name, images in zip(classes, counts[:, 1:].T, strict=True):
        missing = [index for index in range(int(fold.max()) + 1) if not images[fold == index].any()]
        patients = np.count_nonzero(images[fold != _TEST])
        if missing and patients:
            where = f"fold{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing))}"
            who = "1 training patient does" if patients == 1 else f"{patients} training patients do"
            message = f"no image of {where} shows it ({who}): such a fold validates without this class"
            faults.append(warning(f"class {name}", message, "class_missing_in_fold"))
    return faults


def assert_no_leak(train: Sequence[Sample], test: Sequence[Sample]) -> None:
    """Raise DataError when training and test, or two folds, share a patient or an image; for tables that were read.

    Reported are a patient in training and test or in two folds, an image that is listed twice, and two
    images with the same bytes in two parts.
    """
    remedy = "run stage 1 (train_test_data_preparation.py) again, and train again"
    tested = {patient_key(sample.patient) for sample in test}
    both = {patient_key(sample.patient): sample.patient for sample in train if patient_key(sample.patient) in tested}
    if both:
        raise DataError(f"patient {choices(sorted(both.values()))}: in the training and in the test table; {remedy}")
    folds: dict[str, int | None] = {}
    for sample in train:
        fold = folds.setdefault(patient_key(sample.patient), sample.fold)
        if fold != sample.fold:
            raise DataError(f"patient {sample.patient}: in folds {fold} and {sample.fold}; {remedy}")
    seen: set[str] = set()
    for sample in (*train, *test):
        if sample.id in seen:
            raise DataError(f"image {sample.id}: listed twice in the split tables; {remedy}")
        seen.add(sample.id)
    first: dict[str, Sample] = {}
    for sample in (*train, *test):
        other = first.setdefault(sample.sha256, sample)
        if other.fold != sample.fold:
            named = " and ".join(f"{image.id} ({image.part}, patient {image.patient})" for image in (other, sample))
            raise DataError(f"images {named} are the same file; {remedy}")
