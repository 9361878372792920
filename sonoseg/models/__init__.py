"""Networks, the model file, and the engines that run a network."""
