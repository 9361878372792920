"""Summary of a network: layers, output shapes, parameters, multiply-adds."""

import math

import torch
from rich.table import Table
from torch import nn
from torchinfo import ModelStatistics, summary

from sonoseg.models.networks import build_network
from sonoseg.schema.task import Task


def summarise_network(task: Task) -> ModelStatistics:
    """Return layers, `total_params` and `total_mult_adds` for an image of the task's input size.

    Printed, it is torchinfo's tree of layers. Raises TaskError as `build_network` does.
    """
    image = torch.zeros(1, 1, *task.input.size)
    statistics = summary(build_network(task), input_data=image, depth=9, verbose=0)
    for layer in statistics.summary_list:
        if isinstance(layer.module, nn.ConvTranspose2d):
            # Each weight is used once per input pixel; torchinfo counts it once per output pixel.
            bias = 0 if layer.module.bias is None else layer.module.bias.numel()
            pixels = [math.prod(size[2:]) for size in (layer.input_size, layer.output_size)]
            macs = layer.module.weight.numel() * pixels[0] + bias * pixels[1]
            statistics.total_mult_adds += macs - layer.macs
            layer.macs = macs
    return statistics


def network_table(task: Task) -> Table:
    """Return a table of the layers in the order of computation, with the totals as the last row."""
    statistics = summarise_network(task)
    sizes = ["x".join(map(str, size)) for size in (task.input.size, task.network.output_size(task.input.size))]
    table = Table(title=f"{task.name}: {task.network.name}, {sizes[0]} pixels in, {sizes[1]} out, for one image")
    for column in ("layer", "kind", "output", "parameters", "multiply-adds"):
        is_text = column in ("layer", "kind")  # folded where the terminal is narrow; numbers are never cut
        table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    layers = [layer for layer in statistics.summary_list if layer.is_leaf_layer and layer.class_name != "Identity"]
    for layer in layers:
        output = "x".join(map(str, layer.output_size[1:]))
        table.add_row(_path(layer), layer.class_name, output, f"{layer.num_params:,}", f"{layer.macs:,}")
    table.add_section()
    operations = f"{statistics.total_mult_adds / 1e9:.2f} G"
    table.add_row(f"{len(layers)} layers", "", "", f"{statistics.total_params:,}", operations)
    return table


def _path(layer: object) -> str:
    """Return a layer's name within the network, such as `down.2.0`."""
    names = []
    while layer is not None:
        names.append(layer.var_name)  # type: ignore[attr-defined]
        layer = layer.parent_info  # type: ignore[attr-defined]
    return ".".join(reversed(names[:-1])) or names[0]
