"""Loops over pixels that NumPy cannot express without many passes, compiled by numba."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(signature: str) -> Callable[[Callable], Any]:
    """Return a decorator that compiles a function for this machine, or loads the code that an earlier process compiled.

    signature: numba's, of argument and result types. The code is stored beside the function's file, in the user's cache
    folder, or in NUMBA_CACHE_DIR. Where none of them can be written, or the stored code is damaged, the function is
    compiled once per process.
    """

    def compile(function: Callable) -> Any:
        try:
            return numba.njit(signature, nogil=True, cache=True)(function)
        except Exception:  # damaged code raises any type; an error of the function itself is raised again
            return numba.njit(signature, nogil=True)(function)

    return compile
