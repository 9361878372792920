"""The commands of `sonoseg`: a module each, with `add`, which adds its flags, and `run`."""
