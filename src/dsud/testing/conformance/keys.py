"""What an engine promises about the keys of users: each is its own, or refused."""

from __future__ import annotations

import unicodedata

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from dsud.connections import alias_of
from dsud.engines import engine
from dsud.exceptions import InvalidUserKey
from dsud.testing.conformance.acting import connection_of, make, read, write
from dsud.testing.conformance.suite import EngineSuite

#: The primary keys that users of most sites have.
ORDINARY = ("1", "1337", "9223372036854775807", "0b0f5d6e-5c7b-4f7e-9d3c-2a3c5b1f0e11", "alice")

#: Keys that were taken for something else, or for each other, by one engine or another.
_PATHS = (".", "..", "../up", "/root", "a/b", "a\\b", "~", "C:", "con", "nul", ".template", "lock")
_NAMES = ("new-1", "1.deleted", "db.sqlite3", "default", "template1", "public", "pg_x", "sqlite_x")
_MARKS = ("-", "--help", "%", "%s", "%2f", "_", "__", "_2f", "user.1", "user_1", "user-1", "user1")
_QUOTED = (
    "'",
    '"',
    "`",
    ";",
    "*",
    "$HOME",
    "{}",
    "?mode=memory",
    ":memory:",
    "'; DROP TABLE x; --",
)
_SPACED = (" ", " user1", "user1 ", "user 1", "\t", "\n", "user1\n", "a\0b", "\0", "\ud800", "💣")
_CASES = (
    "A",
    "a",
    "Alice",
    "ALICE",
    "ä",
    "a\u0308",
    "Ä",
    "ß",
    "ss",
    "SS",
    "I",
    "\u0131",
    "\u0130",
    "i",
    "\u212a",
    "k",
)
_LONG = ("x" * 64, "x" * 255, "x" * 199 + "y", "x" * 199 + "z", "ä" * 100, "x" * 5000)
HOSTILE = ("", *_PATHS, *_NAMES, *_MARKS, *_QUOTED, *_SPACED, *_CASES, *_LONG)


class KeyTests(EngineSuite):
    """A key names one database and never another's."""

    def test_ordinary_keys_are_accepted(self) -> None:
        """Numbers, UUIDs and plain names, the primary keys of most sites, can name a database."""
        for key in ORDINARY:
            with self.subTest(key=key):
                self.assertTrue(engine().database_settings(key))

    def test_settings_are_complete(self) -> None:
        """``database_settings`` and ``backend`` are all that Django needs for a connection."""
        wrapper = connections[alias_of("1")]

        self.assertIsInstance(wrapper, load_backend(engine().backend).DatabaseWrapper)
        self.assertIsInstance(wrapper, BaseDatabaseWrapper)
        self.assertTrue(wrapper.settings_dict["NAME"])
        # Because each request would open a transaction in every user's database.
        self.assertFalse(wrapper.settings_dict["ATOMIC_REQUESTS"])
        self.assertEqual(connection_of("1"), wrapper)

    def test_settings_are_given_anew(self) -> None:
        """Django changes the settings that it gets, which must not change those of others."""
        given = engine().database_settings("1")
        given["NAME"] = "changed"
        given.setdefault("OPTIONS", {})["changed"] = True  # type: ignore[index]

        again = engine().database_settings("1")
        self.assertNotEqual(again["NAME"], "changed")
        self.assertNotIn("changed", again.get("OPTIONS", {}))  # type: ignore[arg-type]

    def test_asking_makes_nothing(self) -> None:
        """Settings and questions about a database make none."""
        engine().database_settings("1")

        self.assertFalse(engine().exists("1"))
        self.assertEqual(list(engine().keys()), [])
        self.assertIsNone(engine().staged_here("1"))
        self.assertFalse(self.another_engine().exists("1"))

    def test_hostile_key_is_accepted_or_refused(self) -> None:
        """Whatever a key looks like, it names a database or raises ``InvalidUserKey``."""
        for key in HOSTILE:
            with self.subTest(key=key):
                if self._is_accepted(key):
                    self.assertFalse(engine().exists(key))

    def test_refused_key_has_no_database(self) -> None:
        """A key that was refused is refused, or has nothing, wherever it is asked about."""
        for key in HOSTILE:
            if not self._is_accepted(key):
                with self.subTest(key=key), self.assertRaises(InvalidUserKey):
                    engine().exists(key)

    def test_two_keys_never_share_a_database(self) -> None:
        """Each of many keys that look alike has its own rows, and is listed as it was given."""
        accepted = [key for key in (*ORDINARY, *HOSTILE) if self._is_accepted(key)]
        for key in accepted:
            make(key)
            write(key, f"Written by {key!r}")

        self.assertEqual(sorted(engine().keys()), sorted(accepted))
        for key in accepted:
            with self.subTest(key=key):
                self.assertEqual(read(key), [f"Written by {key!r}"])

    def test_settings_tell_keys_apart_where_case_is_folded(self) -> None:
        """Two keys differ also on a file system that folds case or accents, as on a Mac."""
        seen: dict[str, str] = {}
        for key in filter(self._is_accepted, dict.fromkeys((*ORDINARY, *HOSTILE))):
            other = seen.setdefault(self._folded_settings(key), key)
            self.assertEqual(other, key, "two keys with the same settings")

    def _is_accepted(self, key: str) -> bool:
        try:
            return bool(engine().database_settings(key))
        except InvalidUserKey:
            return False

    def _folded_settings(self, key: str) -> str:
        """Return what the settings say, without the key itself, in the eyes of such a file system."""
        settings = engine().database_settings(key)
        where = sorted((name, str(value)) for name, value in settings.items() if value != key)
        return unicodedata.normalize("NFD", repr(where).casefold())
