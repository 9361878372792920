"""Pseudonyms of the patients that image files state: keyed hashes, so that no identity is written anywhere."""

import errno
import hashlib
import hmac
import os
import re
import secrets
import tempfile
from functools import cached_property
from pathlib import Path

from sonoseg.errors import DataError, UsageError
from sonoseg.io.files import name_in_errors
from sonoseg.io.names import similar_patient_key
from sonoseg.io.reading import read_regular

KEY_BYTES = 32
DIGITS = 12
"""Of a pseudonym, hexadecimal: two of a million patients are one with a probability of 0.2 %."""
PREFIX = "patient-"
_PSEUDONYM = re.compile(rf"{PREFIX}[0-9a-f]{{{DIGITS}}}")


def identity_key(identity: str) -> str:
    """Return what the spellings of an identity share: without letter case, accents, spaces and control characters.

    Two patients that are taken for one stay in one part of a split, which spoils no score; one that is taken for two
    may be in both. Empty when nothing is visible.
    """
    return similar_patient_key(identity)


def is_pseudonym(patient: str) -> bool:
    """Return whether a patient has the form of a pseudonym."""
    return _PSEUDONYM.fullmatch(patient) is not None


class PseudonymKey:
    """The secret key of the pseudonyms of a workspace, in a file that only its owner can read.

    The same key gives the same pseudonyms, so that a later run finds the patients of an earlier split. is_used: whether
    a pseudonym was asked for; only then is there something to store.
    """

    def __init__(self, path: Path):
        """path: of the file, which is read, or made by `store`, when it is needed."""
        self._path = path
        self.is_used = False

    def pseudonym(self, identity: str) -> str:
        """Return `patient-` and the first 12 digits of the HMAC-SHA-256 (RFC 2104) of an identity.

        Raises DataError for a file that is no key, OSError.
        """
        self.is_used = True
        digest = hmac.new(self._key, identity_key(identity).encode("utf-8", "backslashreplace"), hashlib.sha256)
        return PREFIX + digest.hexdigest()[:DIGITS]

    def store(self) -> None:
        """Write the key, unless it is there: no earlier key is ever replaced. Raises OSError.

        Raises UsageError when another run has written another key meanwhile.
        """
        with name_in_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", suffix=".tmp", dir=self._path.parent)
            try:
                with os.fdopen(handle, "wb") as stream:  # mkstemp makes a file of mode 0600
                    stream.write(self._key)
                    stream.flush()
                    os.fsync(stream.fileno())
                if not os.path.lexists(self._path):
                    self._place(name)
            finally:
                Path(name).unlink(missing_ok=True)
        if not hmac.compare_digest(self._read() or b"", self._key):
            raise UsageError(f"{self._path}: another run has made it meanwhile; run the same command again")

    def _place(self, name: str) -> None:
        try:
            os.link(name, self._path)  # unlike a rename, it never replaces a file
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            os.rename(name, self._path)

    @cached_property
    def _key(self) -> bytes:
        return self._read() or secrets.token_bytes(KEY_BYTES)

    def _read(self) -> bytes | None:
        """Return the key of the file, None when there is none."""
        try:
            key = read_regular(self._path, 1 << 20)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise DataError("a link; expected the file itself: put the key there", self._path) from None
        if len(key) != KEY_BYTES:
            raise DataError(
                f"{len(key)} bytes; expected the {KEY_BYTES} of the key from which patients get their pseudonyms: put "
                "the file back, or remove it and split all images anew",
                self._path,
            )
        return key
