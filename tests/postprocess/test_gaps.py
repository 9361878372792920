"""Cleaning and gap filling: covered pixels, separated components, small components, anatomical rules."""

import numpy as np
import pytest

from sonoseg.postprocess.anatomy import apply_rules
from sonoseg.postprocess.gaps import clean, full_masks
from sonoseg.schema.task_files import parse_task
from tests.geometry import drawn_shapes as drawn

SHAPE = (200, 300)
MID, VTB, EPI = 1, 2, 3


def label_map() -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """MID from top to bottom, over the middle of VTB, EPI over MID; and each class whole."""
    whole = {
        MID: drawn.line(SHAPE, (150, 20), (150, 180)),
        VTB: drawn.rectangle(SHAPE, 100, 140, 200, 170),
        EPI: drawn.line(SHAPE, (110, 90), (190, 90)),
    }
    labels = np.zeros(SHAPE, np.uint8)
    for index in (VTB, MID, EPI):
        labels[whole[index]] = index
    return labels, whole


def test_covered_pixels_are_restored_exactly(spine):
    labels, whole = label_map()
    assert not np.array_equal(labels == MID, whole[MID])
    masks = full_masks(labels, spine.structures, spine.postprocessing)
    for index in (MID, VTB, EPI):
        assert np.array_equal(masks[index - 1], whole[index])


@pytest.mark.parametrize("lower_end", [120, 143, 165, 190])
def test_a_tilted_midline_is_restored_exactly(spine, lower_end):
    whole = drawn.line(SHAPE, (140, 20), (lower_end, 180))
    epi = drawn.line(SHAPE, (110, 95), (190, 88))
    labels = np.where(epi, EPI, np.where(whole, MID, 0)).astype(np.uint8)
    assert (whole & epi).sum() > 90
    assert np.array_equal(full_masks(labels, spine.structures, spine.postprocessing)[0], whole)


def test_without_fill_gaps_masks_are_the_own_pixels(spine):
    fields = spine.model_dump(mode="json")
    fields["postprocessing"]["fill_gaps"] = False
    labels, _ = label_map()
    task = parse_task(fields, "test")
    masks = full_masks(labels, task.structures, task.postprocessing)
    assert all(np.array_equal(masks[index - 1], labels == index) for index in (MID, VTB, EPI))


def test_vertebra_split_by_the_midline_keeps_both_halves(spine):
    labels, _ = label_map()
    labels[10:18, 20:40] = VTB  # a stray piece far away
    cleaned = clean(labels, spine.structures, spine.postprocessing)
    assert not (cleaned[10:18, 20:40] == VTB).any()
    assert np.array_equal(cleaned == VTB, label_map()[0] == VTB)
    assert (cleaned[:, :150] == VTB).any() and (cleaned[:, 150:] == VTB).any()


def test_a_small_component_far_up_the_midline_is_not_joined_through_it(spine):
    labels, _ = label_map()
    labels[30:40, 156:170] = VTB
    assert np.array_equal(clean(labels, spine.structures, spine.postprocessing) == VTB, label_map()[0] == VTB)


def test_largest_without_a_cover_keeps_a_single_component(spine):
    labels = np.zeros(SHAPE, np.uint8)
    labels[50:60, 20:60] = EPI
    labels[100:110, 20:59] = EPI
    only_largest = [s.model_copy(update={"keep": "largest"}) if s.name == "EPI" else s for s in spine.structures]
    task = spine.model_copy(update={"structures": only_largest})
    assert np.array_equal(
        np.unique(np.nonzero(clean(labels, task.structures, task.postprocessing) == EPI)[0]), np.arange(50, 60)
    )
    assert np.array_equal(clean(labels, spine.structures, spine.postprocessing), labels)


def test_small_components_are_removed_by_their_fraction_of_the_image(spine):
    limit = spine.postprocessing.min_area_fraction * SHAPE[0] * SHAPE[1]  # 12 pixels
    labels = np.zeros(SHAPE, np.uint8)
    labels[10, 10 : 10 + int(limit)] = MID
    labels[50, 10 : 10 + int(limit) - 1] = MID
    cleaned = clean(labels, spine.structures, spine.postprocessing)
    assert (cleaned[10] == MID).sum() == int(limit) and not cleaned[50].any()


def test_empty_label_map(spine):
    empty = np.zeros(SHAPE, np.uint8)
    assert not clean(empty, spine.structures, spine.postprocessing).any()
    masks = full_masks(empty, spine.structures, spine.postprocessing)
    assert masks.shape == (3, *SHAPE) and not masks.any()


def test_rules_remove_structures_without_a_midline_with_the_reason(spine):
    labels, _ = label_map()
    kept, removed = apply_rules(labels, spine.structures, spine.postprocessing.rules)
    assert np.array_equal(kept, labels) and removed == {}
    labels[labels == MID] = 0
    labels[labels == EPI] = 0
    kept, removed = apply_rules(labels, spine.structures, spine.postprocessing.rules)
    assert not kept.any() and (labels == VTB).any()
    assert removed == {"VTB": "VTB removed: there is no MID in the image"}


def test_pixels_of_a_removed_component_go_to_the_class_below(spine):
    labels, whole = label_map()
    speck = np.zeros(SHAPE, bool)
    speck[40:43, 148:152] = True  # far from EPI's line, in the middle of MID's
    labels[speck] = EPI
    only_largest = [s.model_copy(update={"keep": "largest"}) if s.name == "EPI" else s for s in spine.structures]
    task = spine.model_copy(update={"structures": only_largest})
    cleaned = clean(labels, task.structures, task.postprocessing)
    assert (cleaned[speck] == MID).all()
    np.testing.assert_array_equal(full_masks(cleaned, task.structures, task.postprocessing)[MID - 1], whole[MID])


def test_a_stray_piece_does_not_fill_the_covering_class_beside_the_line(spine):
    labels, whole = label_map()
    stray = drawn.rectangle(SHAPE, 184, 96, 192, 106)  # touches the end of EPI, 30 px from MID
    labels[stray & (labels == 0)] = MID
    masks = full_masks(labels, spine.structures, spine.postprocessing)
    np.testing.assert_array_equal(masks[MID - 1], whole[MID] | (stray & ~whole[EPI]))


def test_short_ends_on_both_sides_of_the_covering_class_are_completed(spine):
    whole = drawn.rectangle(SHAPE, 145, 80, 154, 100)
    epi = drawn.line(SHAPE, (110, 90), (190, 90))
    labels = np.where(epi, EPI, np.where(whole, MID, 0)).astype(np.uint8)
    np.testing.assert_array_equal(full_masks(labels, spine.structures, spine.postprocessing)[MID - 1], whole)
