"""Loops over pixels that NumPy cannot express without many passes, compiled by numba."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(signature: str) -> Callable[[Callable], Any]:
    """Compile a function for this machine, or load what an earlier process compiled.

    It is kept beside its file, in the user's cache folder, or in NUMBA_CACHE_DIR. Where none of them can be written,
    or what is there cannot be read, it is compiled once per process.
    """

    def compile(function: Callable) -> Any:
        try:
            return numba.njit(signature, nogil=True, cache=True)(function)
        except Exception:  # an unreadable file raises anything; a fault of the function itself comes up again
            return numba.njit(signature, nogil=True)(function)

    return compile
