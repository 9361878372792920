"""Networks: sizes, counts of the papers, what their outputs mean, and tiles that make up the whole."""

import copy
import shutil
from typing import get_args

import monai
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from sonoseg.errors import TaskError
from sonoseg.models.networks import NETWORKS, build_network, unet
from sonoseg.models.networks.heads import (
    activate,
    foreground,
    output_channels,
    overlap_tiles,
    predict,
    target_of,
    tile_starts,
)
from sonoseg.models.networks.segnet import SegNetNetwork
from sonoseg.models.networks.unet2015 import UNet2015Network, centre
from sonoseg.models.summary import network_table, summarise_network
from sonoseg.postprocess.class_map import class_map
from sonoseg.schema.network import MONAI_NETWORKS, AnyNetwork, MonaiNetwork, Network, SegNet, UNet, UNet2015
from sonoseg.schema.task import Task
from tests.conftest import changed

VALID = {"name": "unet2015", "padding": "valid", "target": "resized", "channels": [4, 8, 16, 32, 64]}
SMALL = {
    "unet": {"name": "unet", "channels": [4, 8, 16], "strides": [2, 2]},
    "unet2015": {"name": "unet2015", "channels": [4, 8, 16]},
    "segnet": {"name": "segnet", "channels": [4, 8, 8], "convolutions": [2, 2, 1]},
    "attention_unet": {"name": "attention_unet", "arguments": {"channels": [4, 8, 16], "strides": [2, 2]}},
    "segresnet": {"name": "segresnet", "arguments": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}},
}


def with_network(task: Task, network: dict, size: tuple[int, int] = (64, 96)) -> Task:
    return changed(task, network=network, input={"size": size})


def test_every_name_of_the_schema_has_a_network() -> None:
    sections: tuple[type[AnyNetwork], ...] = get_args(get_args(Network)[0])
    names = {name for section in sections for name in get_args(section.model_fields["name"].annotation)}
    assert names == set(NETWORKS) == set(SMALL)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_logits_have_a_channel_per_class_and_the_size_of_the_input(name: str, spine: Task, fetal_head: Task) -> None:
    for task, channels in ((spine, 4), (fetal_head, 1)):
        small = with_network(task, SMALL[name])
        network = build_network(small)
        logits = network(torch.randn(2, 1, 64, 96))
        assert logits.shape == (2, channels, 64, 96) and channels == output_channels(len(small.structures))
        logits.mean().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters() if p.requires_grad)


def test_unet2015_has_the_layers_of_the_paper() -> None:
    network = UNet2015Network(UNet2015(name="unet2015", padding="valid", target="resized"), outputs=2)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(layers) == 23
    # Counted by hand from figure 1: 3x3, 2x2 and 1x1 convolutions with their biases, one channel in, two out.
    assert sum(parameter.numel() for parameter in network.parameters()) == 31_030_658


@pytest.mark.parametrize(("side", "output"), [(572, 388), (252, 68), (188, 4)])
def test_unpadded_convolutions_reduce_the_size(side: int, output: int) -> None:
    settings = UNet2015.model_validate(VALID)
    assert settings.output_size((side, side)) == (output, output)
    if side < 300:
        assert UNet2015Network(settings, 1)(torch.zeros(1, 1, side, side)).shape == (1, 1, output, output)


@pytest.mark.parametrize("side", [172, 250, 253, 256])
def test_sides_that_do_not_go_through_unpadded_are_refused(side: int, fetal_head: Task) -> None:
    with pytest.raises(ValueError, match=r"input.size .*: unpadded convolutions take sides of 188, 204, 220"):
        with_network(fetal_head, VALID, (side, 252))


def test_a_target_belongs_to_unpadded_convolutions() -> None:
    for fields in ({"padding": "valid"}, {"padding": "same", "target": "cropped"}):
        with pytest.raises(ValueError, match="target belongs to padding 'valid'"):
            UNet2015.model_validate({"name": "unet2015", **fields})


def test_segnet_is_vgg16_and_its_mirror() -> None:
    network = SegNetNetwork(SegNet(name="segnet"), 2)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 13 + 13 + 1
    widths = [layer.out_channels for layer in convolutions[:13]]
    assert widths == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6


def test_segnet_puts_values_back_where_they_were_largest() -> None:
    network = SegNetNetwork(SegNet(name="segnet", channels=[1, 1], convolutions=[1, 1]), 1)
    for stage in (*network.encoder, *network.decoder):
        stage[0] = nn.Identity()
        stage[1] = nn.Identity()
    network.head = nn.Identity()
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 5, 2] = 3.0
    torch.testing.assert_close(network(image), image)


@pytest.mark.parametrize("skip", [False, True])
def test_segnet_is_the_same_in_either_memory_layout(skip: bool) -> None:
    torch.manual_seed(0)
    network = SegNetNetwork(SegNet(name="segnet", channels=[4, 8], convolutions=[2, 1], skip=skip), 1).eval()
    image = torch.randn(2, 1, 16, 24)
    plain = network(image)
    last = network.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-5)


def test_arguments_that_monai_does_not_take_are_named(fetal_head: Task) -> None:
    task = with_network(fetal_head, {"name": "segresnet", "arguments": {"filters": 8}})
    with pytest.raises(TaskError, match=r"network.arguments: MONAI's SegResNet does not take .*filters"):
        build_network(task)
    assert MonaiNetwork(name="segresnet", multiple_of=8).output_size((24, 40)) == (24, 40)


def test_a_size_that_does_not_go_through_a_network_of_monai_is_refused_before_training(fetal_head: Task) -> None:
    settings = {"name": "attention_unet", "multiple_of": 4}
    settings |= {"arguments": {"channels": [4, 8, 16, 32], "strides": [2, 2, 2]}}
    whole = with_network(fetal_head, settings).model_dump()
    whole["input"]["size"] = (100, 100)
    with pytest.raises(TaskError, match=r"does not take 100x100 pixels .* network\.multiple_of"):
        build_network(Task.model_validate(whole))


def test_every_network_of_monai_in_the_dictionary_exists() -> None:
    assert all(hasattr(monai.networks.nets, kind) for kind in MONAI_NETWORKS.values())
    with pytest.raises(ValueError, match="attention_unet"):
        TypeAdapter(Network).validate_python({"name": "none"})


def test_one_channel_means_the_class_and_several_mean_background_first() -> None:
    logits = torch.tensor([-2.0, 0.0, 1.0]).view(1, 1, 1, 3)
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    torch.testing.assert_close(activate(logits), activate(two))
    torch.testing.assert_close(foreground(logits), torch.sigmoid(logits))
    torch.testing.assert_close(foreground(two), torch.sigmoid(logits))
    probabilities = activate(logits)[0].numpy()
    assert class_map(probabilities).flatten().tolist() == [0, 0, 1]
    assert class_map(probabilities, threshold=0.1).flatten().tolist() == [1, 1, 1]
    several = activate(torch.tensor([[1.0, 3.0, 2.0], [5.0, 0.0, 0.0]]).view(2, 3, 1, 1)).numpy()
    assert [class_map(maps).item() for maps in several] == [1, 0]


def test_targets_are_scaled_or_cropped(fetal_head: Task) -> None:
    labels = torch.zeros(1, 1, 252, 252, dtype=torch.int64)
    labels[..., 126:, :] = 1
    labels[..., :50, :] = 1
    logits = torch.zeros(1, 1, 68, 68)
    resized = target_of(labels, logits, with_network(fetal_head, VALID, (252, 252)).network)
    assert resized.shape == (1, 1, 68, 68) and resized.dtype == torch.int64
    assert resized[0, 0, :13].all() and not resized[0, 0, 14:34].any() and resized[0, 0, 34:].all()
    cropped = target_of(labels, logits, with_network(fetal_head, VALID | {"target": "cropped"}, (252, 252)).network)
    torch.testing.assert_close(cropped, labels[..., 92:160, 92:160])
    same = torch.zeros(1, 1, 252, 252)
    assert target_of(labels, same, with_network(fetal_head, SMALL["unet"], (64, 64)).network) is labels


class CentreOnly(nn.Module):
    """Stands for an unpadded network: returns the centre of its input."""

    def __init__(self, size: tuple[int, int]):
        super().__init__()
        self.size = size

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return centre(images, self.size)


@pytest.mark.parametrize(("size", "output"), [((252, 252), (68, 68)), ((572, 252), (388, 68)), ((188, 204), (4, 20))])
def test_tiles_make_up_the_whole_image(size: tuple[int, int], output: tuple[int, int]) -> None:
    image = torch.randn(2, 1, *size)
    torch.testing.assert_close(overlap_tiles(CentreOnly(output), image, output)[:, 1:], torch.sigmoid(image))


def test_tiles_reach_from_border_to_border() -> None:
    assert tile_starts(572, 388) == [0, 184] and tile_starts(100, 100) == [0] and tile_starts(10, 4) == [0, 3, 6]


def test_tiles_are_what_the_network_gives_for_their_surroundings(fetal_head: Task) -> None:
    torch.manual_seed(0)
    task = with_network(fetal_head, VALID | {"target": "cropped"}, (204, 204))  # tiles of 20 pixels, the first at 0
    network = build_network(task).eval()
    image = torch.randn(1, 1, 204, 204)
    with torch.inference_mode():
        whole = predict(network, image, task.network)
        assert whole.shape == (1, 2, 204, 204)
        torch.testing.assert_close(whole.sum(dim=1), torch.ones(1, 204, 204))
        mirrored = torch.nn.functional.pad(image, (92, 92, 92, 92), mode="reflect")
        for top, left in ((0, 0), (184, 184)):
            alone = activate(network(mirrored[..., top : top + 204, left : left + 204]))
            # Its outermost corner belongs to no other tile.
            rows, columns = (slice(start, start + 18) if start == 0 else slice(186, 204) for start in (top, left))
            inner = slice(0, 18) if top == 0 else slice(2, 20)
            torch.testing.assert_close(whole[..., rows, columns], alone[..., inner, inner], rtol=1e-3, atol=1e-4)


def test_resized_probabilities_fill_the_image(fetal_head: Task) -> None:
    task = with_network(fetal_head, VALID, (204, 204))
    network = build_network(task).eval()
    with torch.inference_mode():
        probabilities = predict(network, torch.randn(1, 1, 204, 204), task.network)
    assert probabilities.shape == (1, 2, 204, 204)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(1, 204, 204))


def test_summary_counts_by_hand(fetal_head: Task) -> None:
    task = with_network(fetal_head, {"name": "unet2015", "channels": [2, 4]}, (16, 16))
    statistics = summarise_network(task)
    weights = [
        1 * 2 * 9 + 2,
        2 * 2 * 9 + 2,
        2 * 4 * 9 + 4,
        4 * 4 * 9 + 4,
        4 * 2 * 4 + 2,
        4 * 2 * 9 + 2,
        2 * 2 * 9 + 2,
        3,
    ]
    places = [256, 256, 64, 64, 64, 256, 256, 256]
    # Up-convolution: each of the 64 pixels meets each weight once, and each of the 256 that come out has its bias.
    assert statistics.total_params == sum(weights)
    assert statistics.total_mult_adds == sum(w * p for w, p in zip(weights, places, strict=True)) + 2 * (256 - 64)
    table = network_table(task)
    assert f"{sum(weights):,}" in list(table.columns[3].cells)[-1]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler, which torch.compile needs")
def test_a_compiled_network_has_the_same_gradients_and_weight_names() -> None:
    torch.manual_seed(0)
    plain = unet(UNet(name="unet", channels=[4, 8], strides=[2], residual_units=1), 2)
    compiled = copy.deepcopy(plain)
    compiled.compile()
    image = torch.randn(2, 1, 16, 16)
    for network in (plain, compiled):
        network(image).square().mean().backward()
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for actual, expected in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(actual.grad, expected.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weights", [[0.5], [0.5, 0.25]])
@pytest.mark.parametrize("name", ["unet", "unet2015"])
def test_deep_supervision_has_coarser_outputs_in_training_alone(name: str, weights: list[float], spine: Task) -> None:
    section = SMALL[name] | {"channels": [4, 8, 16, 16]} | ({"strides": [2, 2, 2]} if name == "unet" else {})
    torch.manual_seed(0)
    plain = build_network(with_network(spine, section))
    network = build_network(with_network(spine, section | {"deep_supervision": weights}))
    images = torch.randn(2, 1, 64, 96)
    outputs = network.train()(images)
    assert [tuple(output.shape) for output in outputs] == [
        (2, 4, 64 // 2**n, 96 // 2**n) for n in range(1 + len(weights))
    ]
    sum(output.mean() for output in outputs).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    # Without the further outputs it is the same network, weight by weight.
    plain.load_state_dict({key: value for key, value in network.state_dict().items() if not key.startswith("coarser")})
    assert torch.equal(plain.eval()(images), network.eval()(images))


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        (SMALL["unet"] | {"deep_supervision": [0.5, 0.25]}, "expected at most 1"),
        (VALID | {"deep_supervision": [0.5]}, "deep_supervision needs padding 'same'"),
    ],
)
def test_outputs_that_a_network_cannot_have_are_refused(section: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        TypeAdapter(Network).validate_python(section)
