"""Speed of each stage, compared with a plain implementation of the same: `make bench`."""
