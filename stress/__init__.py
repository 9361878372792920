"""Runs too long for the tests: broken input by the thousands, sudden deaths, large folders. See docs/trust.md."""
