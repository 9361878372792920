"""Tests on Ray clusters: `make test-ray`, in an environment of its own."""
