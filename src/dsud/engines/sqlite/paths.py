"""Which directory belongs to which user: injective, reversible, safe where case is folded."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from pathlib import Path
from urllib.parse import quote

from dsud.exceptions import InvalidUserKey

#: Bytes of a directory's name that every common file system can store.
LONGEST_NAME = 240

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")
_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9])")
_ESCAPED = re.compile(r"_([0-9a-f]{2})")


def directory_name(user_key: str) -> str:
    """Spell a key with ``a-z``, ``0-9`` and ``-``; every other byte of its UTF-8 becomes ``_xx``.

    Raises ``InvalidUserKey`` for keys that are empty, hold NUL or need more than 240 bytes.
    """
    if user_key.isdigit() and user_key.isascii() and len(user_key) <= LONGEST_NAME:
        return user_key  # As most are, and a fleet asks for one after the other.
    if not user_key:
        raise InvalidUserKey(user_key, "it is empty")
    if "\0" in user_key:
        raise InvalidUserKey(user_key, "it contains NUL")
    try:
        data = user_key.encode()
    except UnicodeEncodeError:
        raise InvalidUserKey(user_key, "it is not valid Unicode") from None
    name = "".join(chr(byte) if byte in _PLAIN else f"_{byte:02x}" for byte in data)
    if _RESERVED.fullmatch(name):
        # Because Windows opens a device under these names.
        name = f"_{ord(name[0]):02x}{name[1:]}"
    if len(name) > LONGEST_NAME:
        raise InvalidUserKey(user_key, f"its path would need {len(name)} bytes of {LONGEST_NAME}")
    return name


def key_of(name: str) -> str | None:
    """Return the key that ``directory_name`` spells so, or None when it spells none so."""
    data = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), name)
    try:
        user_key = data.encode("latin-1").decode()
        return user_key if directory_name(user_key) == name else None
    except (UnicodeError, InvalidUserKey):
        return None


@functools.lru_cache(maxsize=256)
def user_directory(location: Path, user_key: str) -> Path:
    """Return the user's directory: one of 256 by the hash of the key, then the key."""
    return Path(f"{location}/{fan_and_name(user_key)}")


@functools.lru_cache(maxsize=1024)
def fan_and_name(user_key: str) -> str:
    """Return the path of the user's directory below the location."""
    name = directory_name(user_key)
    return f"{hashlib.sha256(name.encode()).hexdigest()[:2]}/{name}"


def uri_of(path: Path | str, *, mode: str) -> str:
    """Return the URI that opens an existing file; neither ``rw`` nor ``ro`` ever creates one."""
    return f"file:{quoted(path)}?mode={mode}"


def quoted(path: Path | str) -> str:
    """Return a path as a URI has it."""
    return quote(os.fsencode(path))
