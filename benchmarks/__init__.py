"""How fast each stage is, against the plain way of doing the same: `make bench`."""
