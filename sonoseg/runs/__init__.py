"""One run on disk: where files lie, the command line, locks, integrity lists, provenance. Imports no torch."""
