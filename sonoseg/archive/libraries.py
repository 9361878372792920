"""The optional libraries of archives, imported when they are needed only."""

import os
from typing import Any

from sonoseg.errors import UsageError


def parquet_library() -> Any:
    """Return `pyarrow.parquet`. Raises UsageError where pyarrow is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UsageError("Parquet files need pyarrow, which is not installed: pip install 'sonoseg[parquet]'") from None
    return pyarrow.parquet


def arrow_library() -> Any:
    """Return `pyarrow`. Raises UsageError where it is not installed."""
    parquet_library()
    import pyarrow

    return pyarrow


def ray_library(local: bool) -> Any:
    """Return `ray`, which reports no usage, with every port on the loopback address when `local`.

    Raises UsageError where Ray is not installed. Ray reads these settings when it is imported, and its processes
    inherit them.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # announced by a warning where it is not set
    if local:
        # Ray's only setting that makes its servers listen on 127.0.0.1, in spite of the name also under Linux.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError:
        raise UsageError("a Ray cluster needs Ray, which is not installed: pip install 'sonoseg[ray]'") from None
    return ray
