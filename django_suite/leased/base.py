"""Our backend on connections that it leases from the pool, set up as those of a user's database are."""

from __future__ import annotations

from pathlib import Path

from dsud.engines.sqlite import base
from dsud.engines.sqlite.connection import OPTIONS, Handle, set_up
from dsud.leases import Lease
from dsud.pool import pool


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection with a ``USER_KEY``, to whatever file ``NAME`` says.

    Django's tests make and remove that file themselves, so it has no owner and no template.
    """

    def _take_lease(self, user_key: str) -> Lease[Handle]:
        name = str(self.settings_dict["NAME"])
        return pool.lease(name, self, lambda: self._open(user_key, Path(name)))

    def _open(self, user_key: str, path: Path) -> Handle:
        raw = self.get_new_connection(self.get_connection_params())
        raw.execute("PRAGMA journal_mode = WAL")
        authorizer = set_up(raw, OPTIONS)
        return Handle(
            raw,
            database=str(path),
            name=str(path),
            user_key=user_key,
            reusable=True,
            authorizer=authorizer,
        )
