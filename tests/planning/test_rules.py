"""Planned settings of datasets whose properties are known."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sonoseg.planning.choice import nested
from sonoseg.planning.fingerprint import Fingerprint, StructureFacts
from sonoseg.planning.plan import advice
from sonoseg.planning.rules import (
    Machine,
    plan_augmentation,
    plan_batch,
    plan_images,
    plan_loss,
    plan_network,
    plan_results,
    receptive_field,
    round_trip_dice,
)
from sonoseg.schema.annotations import Structure
from sonoseg.schema.images import Augmentation, Input
from sonoseg.schema.network import UNet
from sonoseg.types import Pixels

CPU, GPU = Machine(False, 30), Machine(True, 30)


def disc(size: tuple[int, int], radius: float, at: tuple[float, float] = (0.5, 0.5), value: int = 1) -> Pixels:
    y, x = np.mgrid[: size[0], : size[1]]
    return (value * ((x - at[0] * size[1]) ** 2 + (y - at[1] * size[0]) ** 2 <= radius**2)).astype(np.uint8)


def facts(
    name: str = "A",
    shape: str = "region",
    present: float = 1.0,
    area: float = 0.2,
    length: tuple[float, float, float] = (0.3, 0.4, 0.5),
    side: float = 0.2,
    offsets: Sequence[Sequence[float]] = (),
    fit_dice: float | None = None,
) -> StructureFacts:
    thickness = {"thickness_px": 10.0} if shape == "line" else {}
    structure = Structure.model_validate({"name": name, "shape": shape, "color": "#ff0000", **thickness})
    return StructureFacts(structure, present, area, length, side, np.array(offsets).reshape(-1, 2), fit_dice)


def dataset(*structures: StructureFacts, size: tuple[int, int] = (540, 800), **more: Any) -> Fingerprint:
    aspect = size[1] / size[0]
    values = {
        "images": 640,
        "patients": 500,
        "size": size,
        "aspects": (aspect, aspect),
        "pairs": {},
        "maps": [disc(size, 0.2 * min(size))],
    }
    return Fingerprint(structures=structures or (facts(),), **(values | more))


def planned(choices: Sequence[Any]) -> dict[str, Any]:
    return nested(choices)


def test_heads_get_the_input_and_the_network_of_the_recipe() -> None:
    heads = dataset(facts(shape="ellipse", length=(0.2, 0.3, 0.45)))
    section = planned(plan_images(heads, CPU))["input"]
    assert section == {"size": [192, 256], "fit": "letterbox", "intensity": "z_score"}
    Input.model_validate(section)
    network = planned(plan_network(heads, CPU, (192, 288)))["network"]
    assert network["channels"] == [16, 32, 64, 128, 256, 256] and "init" not in network
    assert UNet.model_validate(network).output_size((192, 288)) == (192, 288)


def test_nerves_and_vessels_get_what_was_the_better_network_for_them() -> None:
    """162 images of 500x500, two classes: 256x256, no vertical flips, batch Dice, as deep as the nerves are long."""
    above, below = [(0.0, -0.1)] * 30, [(0.0, 0.1)] * 30
    nerve = facts("NERVE", present=0.9, area=0.03, length=(0.1, 0.12, 0.42), side=0.12, offsets=above)
    vessel = facts("VESSEL", present=0.8, area=0.02, length=(0.08, 0.1, 0.15), side=0.1, offsets=below)
    both = dataset(
        nerve, vessel, size=(500, 500), images=162, patients=60, maps=[], pairs={("NERVE", "VESSEL"): np.array(above)}
    )
    assert planned(plan_images(both, CPU))["input"]["size"] == [256, 256]
    for longest, levels in ((0.15, 4), (0.42, 5), (0.55, 6)):
        nerves = replace(both, structures=[replace(nerve, length=(0.1, 0.12, longest)), vessel])
        assert len(planned(plan_network(nerves, CPU, (256, 256)))["network"]["channels"]) == levels
    augmentation = planned(plan_augmentation(both, ["NERVE", "VESSEL"]))["augmentation"]
    assert augmentation["online"] and augmentation["flip_vertical"] == 0
    assert augmentation["shift_scale_rotate"]["scale"] >= 0.2
    assert planned(plan_loss(both))["training"]["loss"]["batch_dice"] is True


def test_small_structures_and_thin_lines_need_a_larger_input() -> None:
    small = dataset(facts(side=0.035))
    assert planned(plan_images(small, CPU))["input"]["size"] == [256, 352]
    thin = dataset(facts(shape="line"), size=(1000, 1000), maps=[])
    assert planned(plan_images(thin, CPU))["input"]["size"] == [320, 320]  # 10 px at 0.3 are 3 px
    assert planned(plan_images(dataset(facts(side=0.001)), CPU))["input"]["size"] == [288, 384]
    assert planned(plan_images(dataset(facts(side=0.001)), GPU))["input"]["size"] == [352, 512]


def test_the_input_is_not_larger_than_the_images() -> None:
    section = planned(plan_images(dataset(facts(side=0.001), size=(120, 150)), CPU))["input"]
    assert section["size"] == [128, 160]


def test_images_of_the_inputs_proportions_are_resized() -> None:
    assert planned(plan_images(dataset(size=(600, 600)), CPU))["input"]["fit"] == "resize"
    mixed = dataset(size=(600, 600), aspects=(1.0, 1.2))
    assert planned(plan_images(mixed, CPU))["input"]["fit"] == "letterbox"


def test_round_trips_lose_more_at_smaller_sizes() -> None:
    heads = dataset(maps=[disc((540, 800), 100), np.zeros((540, 800), np.uint8)])
    small, large = (round_trip_dice(heads, size) for size in ((64, 96), (192, 288)))
    assert small is not None and large is not None and 0.9 < small < large < 1
    assert round_trip_dice(dataset(facts(shape="line")), (64, 96)) is None


@pytest.mark.parametrize(("levels", "pixels"), [(1, 5), (2, 15), (3, 35), (5, 155), (6, 315)])
def test_receptive_field_by_hand(levels: int, pixels: int) -> None:
    """Two 3x3 convolutions at each level, of which the first halves the size: 1 + 2 + 4 + 4 + 4 for two levels."""
    assert receptive_field(levels) == pixels


def test_few_images_start_from_the_shipped_weights() -> None:
    few = dataset(facts(length=(0.1, 0.1, 0.1)), images=70)
    network = planned(plan_network(few, CPU, (192, 288)))["network"]
    assert network["init"] == "fetal_head" and len(network["channels"]) == 6
    assert "init" not in planned(plan_network(few, GPU, (192, 288)))["network"]
    assert len(planned(plan_network(few, CPU, (96, 96)))["network"]["channels"]) < 6
    (known,) = plan_network(replace(few, seen=3), CPU, (192, 288))
    assert "init" not in known.value and "were trained on 3 of these images" in known.reason


@pytest.mark.parametrize(
    ("stated", "levels", "supervision"),
    [
        ({"name": "unet", "channels": [8, 16]}, 2, []),
        ({"name": "unet", "channels": [8, 16, 32]}, 3, [0.5]),
        ({"channels": [8, 16, 32, 64]}, 4, [0.5, 0.25]),
        ({"name": "unet", "channels": [4, 8, 16, 16, 16, 16, 16, 16, 16, 16]}, 10, [0.5, 0.25]),
        ({"name": "unet", "strides": [2, 2]}, 3, [0.5]),
        ({"name": "unet", "strides": [4, 2]}, 3, []),  # coarser outputs are at 1/2, 1/4, ... of the size
        ({"name": "segnet", "channels": [8, 16]}, 6, [0.5, 0.25]),  # another kind: none of the plan's is used
        ({"name": "unet", "residual_units": 0}, 6, [0.5, 0.25]),
    ],
)
def test_a_stated_depth_decides_what_is_planned_beside_it(
    stated: dict[str, Any], levels: int, supervision: list[float]
) -> None:
    few = dataset(facts(length=(0.1, 0.1, 0.1)), images=70)
    section = planned(plan_network(few, CPU, (192, 288), stated))["network"]
    assert len(section["channels"]) == levels == len(section["strides"]) + 1
    assert section["deep_supervision"] == supervision
    assert ("init" in section) == (stated["name"] == "segnet" if "name" in stated else False)
    if stated.get("name") != "segnet":
        UNet.model_validate(section | stated)


def test_initial_weights_are_planned_for_stated_channels_that_fit_them() -> None:
    few, stated = dataset(images=70), {"name": "unet", "channels": [16, 32, 64, 128, 256, 256]}
    assert planned(plan_network(few, CPU, (192, 288), stated))["network"]["init"] == "fetal_head"


def test_a_gpu_has_wider_networks_and_larger_batches() -> None:
    assert planned(plan_network(dataset(), GPU, (192, 288)))["network"]["channels"][0] == 32
    assert plan_batch(dataset(), CPU).value == 8 and plan_batch(dataset(), GPU).value == 12
    assert plan_batch(dataset(images=100), CPU).value == 5 and plan_batch(dataset(images=20), CPU).value == 4


def spread(x: float, y: float, count: int = 20) -> list[list[float]]:
    random = np.random.default_rng(0)
    return (np.array([x, y]) + random.normal(0, 0.05, (count, 2))).tolist()


def test_flips_follow_positions_and_names() -> None:
    centred = planned(plan_augmentation(dataset(facts(offsets=spread(0, 0))), ["A"]))["augmentation"]
    assert (centred["flip_horizontal"], centred["flip_vertical"]) == (0.5, 0.5)
    high = planned(plan_augmentation(dataset(facts(offsets=spread(0, -0.2))), ["A"]))["augmentation"]
    assert high["flip_vertical"] == 0 and high["flip_horizontal"] == 0.5
    pairs = {("A", "B"): np.array(spread(0, -0.2))}
    both = dataset(facts(offsets=spread(0, 0)), facts("B", offsets=spread(0, 0)), pairs=pairs)
    assert planned(plan_augmentation(both, ["A", "B"]))["augmentation"]["flip_vertical"] == 0
    for name in ("LEFT_OVARY", "ovary_l", "R_KIDNEY"):
        assert planned(plan_augmentation(dataset(), [name]))["augmentation"]["flip_horizontal"] == 0
    for name in ("LIVER", "RIB", "GALL"):
        assert planned(plan_augmentation(dataset(), [name]))["augmentation"]["flip_horizontal"] == 0.5
    few = planned(plan_augmentation(dataset(facts(offsets=spread(0, 0, 3))), ["A"]))["augmentation"]
    assert few["flip_vertical"] == 0


def test_scale_follows_the_spread_of_lengths_and_small_structures_are_enlarged() -> None:
    same = planned(plan_augmentation(dataset(facts(length=(0.2, 0.2, 0.2))), ["A"]))["augmentation"]
    wide = planned(plan_augmentation(dataset(facts(length=(0.1, 0.2, 0.4))), ["A"]))["augmentation"]
    assert same["shift_scale_rotate"]["scale"] == 0.2 and wide["shift_scale_rotate"]["scale"] == 0.35
    small = planned(plan_augmentation(dataset(facts(area=0.005)), ["A"]))["augmentation"]
    assert "foreground_zoom" in small and "foreground_zoom" not in same
    Augmentation.model_validate(small)


def test_few_images_get_speckle() -> None:
    few = planned(plan_augmentation(dataset(images=149), ["A"]))["augmentation"]
    assert Augmentation.model_validate(few).speckle
    assert "speckle" not in planned(plan_augmentation(dataset(images=150), ["A"]))["augmentation"]


def test_dice_is_taken_over_the_batch_for_rare_and_small_classes() -> None:
    def over_batch(*structures: StructureFacts) -> bool:
        return bool(planned(plan_loss(dataset(*structures)))["training"]["loss"]["batch_dice"])

    assert not over_batch(facts())
    assert over_batch(facts(), facts("B", present=0.9))
    assert over_batch(facts(area=0.005))


def test_fitted_ellipses_are_masks_where_they_reproduce_the_reference() -> None:
    def results(**values: Any) -> dict[str, Any]:
        return planned(plan_results(dataset(facts(**values))))

    assert results(shape="ellipse", fit_dice=0.995)["postprocessing"] == {"fill_gaps": False, "shape_mask": True}
    assert results(shape="ellipse", fit_dice=0.97)["postprocessing"]["shape_mask"] is False
    assert "shape_mask" not in results()["postprocessing"]
    assert results()["review"]["expected"] == ["A"] and "review" not in results(present=0.8)


def test_few_patients_are_advised() -> None:
    assert advice(dataset(patients=1)).startswith(
        "1 patient trains: with none left to validate, only a refit on all folds"
    )
    assert "estimate it by cross-validation over all folds" in advice(dataset(patients=2))
    assert advice(dataset(patients=500)) == ""
