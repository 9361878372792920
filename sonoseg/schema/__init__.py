"""The task file: its sections, defaults and checks. Imports no torch."""
