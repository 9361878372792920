"""One run on disk: paths, command line, locks, output folder, integrity lists, provenance. Imports no torch."""
