"""Stage 2: images enhanced and brought to the network's size, and augmented copies. Imports no torch."""
