"""Stress tests, too long for the test suite: damaged input, killed processes, large folders. See docs/trust.md."""
