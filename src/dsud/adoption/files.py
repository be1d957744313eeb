"""The files of django-sqlite-user-db 0.1 taken over: verified, copied, fitted, published, one by one."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.utils import CursorWrapper

from dsud import key_ranges, provisioning, retirement, schema
from dsud import models as registry
from dsud.adoption.contents import Contents, contents_of, fit, quoted
from dsud.adoption.faults import typed
from dsud.connections import alias_of
from dsud.context import Activation, Block, user_key
from dsud.engines import engine
from dsud.engines.sqlite.image import APPLICATION_ID
from dsud.engines.sqlite.paths import uri_of
from dsud.exceptions import DSUDError, InvalidUserKey, UserDatabaseError
from dsud.opening import as_they_are
from dsud.signals import user_database_provisioned

State = registry.UserDatabase.State

#: How the older package names a user's file; ``template`` is nobody's.
NAME = re.compile(r"user_(?P<key>.+)\.sqlite3")
TEMPLATE = "template"

#: Files that SQLite has beside a database.
SIDECARS = ("-wal", "-shm", "-journal")

#: Says in a user database which file it was made from, so that a run that was killed can go on.
CREATE_ORIGIN = "CREATE TABLE dsud_adopted (source TEXT NOT NULL)"
READ_ORIGIN = "SELECT source FROM dsud_adopted"
WRITE_ORIGIN = "INSERT INTO dsud_adopted (source) VALUES (?)"


class NoSuchDirectory(DSUDError):
    """Raised when an operator names a directory that there is not."""


class NotAdopted(UserDatabaseError):
    """Raised when a file was not taken over: it and what the user has stay as they are."""


@dataclass(frozen=True)
class Found:
    """The files of a directory."""

    #: By the key of the user whose rows they hold.
    files: dict[str, Path]

    #: Those that are named after nobody, which are left where they are.
    left: list[Path]


@dataclass(frozen=True)
class Adopted:
    """What came of one file."""

    user_key: str
    source: Path
    contents: Contents

    #: Whether it was taken over by this run, and not by an earlier one, nor only looked at.
    now: bool

    #: Whether the database has the schema that the code wants; otherwise it has to be migrated.
    is_current: bool


@dataclass(frozen=True)
class Adoption:
    """What came of all files of a directory."""

    left: list[Path]
    adopted: list[Adopted] = field(default_factory=list)
    failures: dict[str, Exception] = field(default_factory=dict)


def find_files(directory: Path) -> Found:
    """Find the files of users in a directory, which ``USER_DB_DIR`` named.

    Raises ``NoSuchDirectory``.
    """
    if not directory.is_dir():
        raise NoSuchDirectory(f"{directory} is no directory. Give the one that USER_DB_DIR named.")
    found = Found({}, [])
    for path in sorted(directory.iterdir()):
        if not path.is_file() or path.name.endswith(SIDECARS):
            continue
        key = _key_in(path.name)
        if key is None:
            found.left.append(path)
        else:
            found.files[key] = path
    return found


def _key_in(name: str) -> str | None:
    match = NAME.fullmatch(name)
    if match is None or match["key"] == TEMPLATE:
        return None
    try:
        key = user_key(match["key"])
    except InvalidUserKey:
        return None
    return key if key == match["key"] else None  # Lest two files are one user's.


def adopt_files(directory: Path, *, only_looks: bool = False) -> Adoption:
    """Take over all files of a directory; one user's failure stops nobody else.

    Files that an earlier run has taken over are passed over. Raises ``NoSuchDirectory``.
    """
    found = find_files(directory)
    adoption = Adoption(found.left)
    for key, path in found.files.items():
        try:
            adoption.adopted.append(adopt_file(key, path, only_looks=only_looks))
        except Exception as error:  # noqa: BLE001, because it is this user's failure, and is reported
            adoption.failures[key] = error
    return adoption


def adopt_file(key: str, path: Path, *, only_looks: bool = False) -> Adopted:
    """Make a user's database of a file, which is read only, and is left as it is.

    With ``only_looks`` nothing is made. Raises ``NotAdopted`` and what the engine raises.
    """
    what = f"The file {path.name} of user {key!r} was not taken over"
    with as_they_are(), typed(key, NotAdopted, what), _opened(path) as source:
        _refuse_without_user(key)
        _refuse_unsound(source)
        contents = contents_of(source)
        origin = str(path.absolute())
        if only_looks:
            return Adopted(key, path, contents, now=False, is_current=False)
        provisioning.initialize_location(key)
        with engine().lock(key):
            now = not _was_adopted(key, origin)
            if now:
                _publish(key, source, contents, origin)
            is_current = _finish(key)
    if not provisioning.register(key, current=is_current):
        retirement.retire(key, unless_expected=True)  # Its user was deleted meanwhile.
    elif now:
        user_database_provisioned.send(sender=None, user_key=key)
    return Adopted(key, path, contents, now=now, is_current=is_current)


# Reading


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file to read it, in one transaction, so that all that is read is of one moment."""
    uri = uri_of(path, mode="ro")
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK:
                raise sqlite3.OperationalError(
                    "a process was killed while it wrote to it; have the older site open it once,"
                    " which takes back what was not committed"
                ) from error
            raise
        yield connection


def _refuse_without_user(key: str) -> None:
    users = get_user_model()._base_manager.using(DEFAULT_DB_ALIAS)
    if not users.filter(pk=key).exists():
        raise NotAdopted(
            key, f"There is no user {key!r} in `default`, so the file was left where it is."
        )


def _refuse_unsound(source: sqlite3.Connection) -> None:
    (verdict,) = source.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(str(verdict))
    (application_id,) = source.execute("PRAGMA application_id").fetchone()
    if application_id == APPLICATION_ID:
        raise sqlite3.DatabaseError("it is a user database of this version already")


# Publishing


def _was_adopted(key: str, origin: str) -> bool:
    """Tell whether the user's database was made from this file; refuse what has rows otherwise."""
    if not engine().exists(key):
        if registry.state_of(key) == State.READY:
            raise provisioning.missing(key)
        return False
    connection = connections[alias_of(key)]
    with Block(Activation(key=key)), connection.cursor() as cursor:
        there = set(connection.introspection.table_names(cursor))
        if "dsud_adopted" in there:
            cursor.execute(READ_ORIGIN)
            if cursor.fetchone() == (origin,):
                return True
        full = [table for table in sorted(_tables_of_rows() & there) if _has_rows(cursor, table)]
    if full:
        raise NotAdopted(
            key,
            f"The database of user {key!r} has rows already: {', '.join(full)}. They were left as"
            " they are, and so was the file.",
        )
    return False


def _tables_of_rows() -> set[str]:
    return {model._meta.db_table for model in schema.user_models()}


def _has_rows(cursor: CursorWrapper, table: str) -> bool:
    cursor.execute(f"SELECT 1 FROM {quoted(table)} LIMIT 1")  # noqa: S608, because it is a model's
    return cursor.fetchone() is not None


def _publish(key: str, source: sqlite3.Connection, contents: Contents, origin: str) -> None:
    """Put the copy in the user's place; an empty database that is there goes to the trash."""

    def prepare(copy: sqlite3.Connection) -> None:
        fit(copy, contents)
        found = contents_of(copy)
        if (found.kept, found.unknown) != (contents.kept, contents.unknown):
            raise sqlite3.DatabaseError("the copy has other rows than the file")
        copy.execute(CREATE_ORIGIN)
        copy.execute(WRITE_ORIGIN, (origin,))

    staged = engine().stage_from(key, source, prepare=prepare)
    try:
        # Whoever finds none between the two steps, this run the next time included, may make it.
        registry.write(key, state=State.PENDING, schema="", last_error="")
        if engine().exists(key):
            retirement.take_out_of_service(key)
        staged.publish()
    finally:
        staged.discard()


def _finish(key: str) -> bool:
    """Give the database its range of keys, if it shall have one, and tell whether it is current."""
    key_ranges.seed(key)
    with Block(Activation(key=key)):
        return schema.is_current(alias_of(key))
