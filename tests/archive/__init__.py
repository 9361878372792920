"""Tests of sonoseg.archive."""
