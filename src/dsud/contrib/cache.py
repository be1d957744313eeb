"""Cache keys that name the active user, so that no entry is ever read by another."""

from __future__ import annotations

from urllib.parse import quote

from dsud.context import active_key
from dsud.exceptions import NoActiveUser


def make_key(key: str, key_prefix: str, version: int) -> str:
    """Return the key of an entry of the active user: a ``KEY_FUNCTION`` for ``CACHES``.

    Raises ``NoActiveUser``.
    """
    user = active_key()
    if user is None:
        raise NoActiveUser(
            "No user is active, so there is no place for this entry in a cache of users. Log in,"
            " wrap the code in `with dsud.use_user(user):`, or use a cache that everybody shares."
        )
    # The user first and quoted, because a version or a key may contain anything, colons too;
    # and named, because a cache without this function may lie in the same place.
    return f"{key_prefix}:user={quote(user, safe='')}:{version}:{key}"
