"""The master key: 32 bytes, from `METERHOUSE_MASTER_KEY` (base64) or from a file beside the data (catalog contract).

A key file is made when it is first needed, and only for data that was never sealed: a lost key is reported, not
replaced. While it is rotated its successor lies beside it, as `….key.new`; a start after a crash tries both.
"""

import base64
import binascii
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

KEY_VARIABLE: Final = "METERHOUSE_MASTER_KEY"
NEW_KEY_VARIABLE: Final = "METERHOUSE_NEW_MASTER_KEY"
KEY_LENGTH: Final = 32


class WrongKey(Exception):
    """The master key is missing, malformed, or not the one the data was sealed with; one sentence says which."""


class KeySource(Protocol):
    """Where the master key comes from."""

    def __call__(self, *, first: bool) -> Sequence[bytes]:
        """The keys to try, in order. `first`: the data was never sealed, so a key may be made. Raises WrongKey."""


def keys_from(text: str | None, key_file: Path | None, random_bytes: Callable[[int], bytes]) -> KeySource:
    """The key in the variable's text if there is one, else that of a key file, which is made for new data.

    No key file (None: PostgreSQL) means that the variable is required.
    """

    def keys(*, first: bool) -> Sequence[bytes]:
        if text:
            return [key_of_text(text)]
        if key_file is None:
            raise WrongKey(f"{KEY_VARIABLE} is not set: it must hold 32 random bytes in base64")
        if first and not key_file.exists():
            make_key_file(key_file, random_bytes(KEY_LENGTH))
        successor = new_file_of(key_file)
        return [read_key_file(path) for path in (key_file, successor) if path == key_file or path.exists()]

    return keys


def key_of_text(text: str, name: str = KEY_VARIABLE) -> bytes:
    """The 32 bytes of a key in base64; `name` is what the sentence of WrongKey calls it."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise WrongKey(f"{name} is not base64: it must hold 32 random bytes in base64") from None
    if len(key) != KEY_LENGTH:
        raise WrongKey(f"{name} holds {len(key)} bytes: it must hold 32 random bytes in base64")
    return key


def read_key_file(path: Path) -> bytes:
    """The key in a file. Raises WrongKey."""
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise WrongKey(f"the key file {path} is missing, and {KEY_VARIABLE} is not set") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WrongKey(f"the key file {path} cannot be read: {error}") from None
    return key_of_text(text, f"the key file {path}")


def make_key_file(path: Path, key: bytes) -> None:
    """Whole or not at all, for the owner alone, and on the disk before anything is sealed with it.

    Of two that make it at once one wins, and both then read the winner's. Raises WrongKey where the folder refuses.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(key) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
        _sync_folder(path)
    except OSError as error:
        raise WrongKey(f"the key file {path} cannot be made: {error}") from None


def new_file_of(key_file: Path) -> Path:
    """Where the successor of a key file lies while it is rotated."""
    return key_file.with_name(f"{key_file.name}.new")


def replace_key_file(key_file: Path) -> None:
    """Puts the successor in the key file's place."""
    new_file_of(key_file).replace(key_file)
    _sync_folder(key_file)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
