"""Stage 4 for archives: results as Parquet shards, on the cores of this machine or on a Ray cluster."""
