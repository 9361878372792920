"""Stage 3: data sets, losses, optimiser, loop, checkpoints and TensorBoard."""
