"""Django's connection to a file of this engine; each lease opens one and closes it."""

import weakref
from pathlib import Path

from django.db.backends.sqlite3 import base

from dsud import engines
from dsud.engines.hooks import Hooks
from dsud.engines.sqlite.schema import DatabaseSchemaEditor
from dsud.exceptions import UserDatabaseUnavailable
from dsud.leases import Force, PoolError
from dsud.pool import pool


class Handle:
    """A raw connection while it is leased."""

    def __init__(self, raw, database):
        self.raw, self.database = raw, database
        self.cursors = weakref.WeakSet()

    def is_current(self):
        return True

    def is_read(self):
        return False

    def clean(self):
        """Tell the pool to close it, because this engine gives no connection to a second lease."""
        return False

    def close(self):
        """Close it with its cursors, because a half-read one keeps the file locked."""
        for cursor in list(self.cursors):
            cursor.close()
        self.raw.close()


class Cursor(base.SQLiteCursorWrapper):
    """A cursor that asks each time whether it may be used."""

    user_key = None

    def ask(self):
        if self.user_key is not None and Hooks.before_cursor_use is not None:
            Hooks.before_cursor_use(self.user_key)

    def execute(self, *args):
        self.ask()
        return super().execute(*args)

    def executemany(self, *args):
        self.ask()
        return super().executemany(*args)

    def fetchone(self):
        self.ask()
        return super().fetchone()

    def fetchmany(self, *args):
        self.ask()
        return super().fetchmany(*args)

    def fetchall(self):
        self.ask()
        return super().fetchall()

    def __next__(self):
        self.ask()
        return super().__next__()


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, with a lease for the time that it is connected to a user's database."""

    SchemaEditorClass = DatabaseSchemaEditor  # It writes no constraint to tables of `default`.
    lease = None

    @property
    def user_key(self):
        """Whose database it is; nobody's when it is one that becomes a template."""
        return self.settings_dict.get("USER_KEY")

    def connect(self):
        if self.user_key is None:
            super().connect()
            return
        try:
            self.lease = pool.lease((__name__, self.user_key), self, self.open)
        except PoolError as error:
            raise UserDatabaseUnavailable(self.user_key, str(error)) from error
        self.judge()

    def judge(self):
        """Ask whether the database may be used as it is; part from it if not."""
        try:
            if Hooks.judge_schema is not None:
                Hooks.judge_schema(self, opened=True)
        except BaseException:
            self.close()
            raise

    def open(self):
        super().connect()
        return Handle(self.connection, (__name__, self.user_key))

    def get_new_connection(self, conn_params):
        if self.user_key is None:
            return super().get_new_connection(conn_params)
        path = engines.engine().path_to_open(self.user_key)
        conn_params["database"] = f"{Path(path).absolute().as_uri()}?mode=rw"
        raw = super().get_new_connection(conn_params)
        (owner,) = raw.execute("SELECT user_key FROM flat_engine_owner").fetchone()
        if owner != self.user_key:
            raw.close()
            message = f"The database in the place of user {self.user_key!r} is another user's."
            raise UserDatabaseUnavailable(self.user_key, message)
        return raw

    def _close(self):
        if self.lease is None:
            super()._close()
        else:
            pool.give_back(self.lease, force=Force.EVERYTHING)

    def surrender(self, lease, *, force):
        """Give the connection back, unless it is in use and ``force`` does not say so."""
        if self.lease is lease:
            if force is Force.NOTHING or (force is Force.CURSORS and self.in_atomic_block):
                return False
            self.abandon()
        return True

    def abandon(self):
        """Forget the connection; a transaction on it can then only fail."""
        self.lease = self.connection = None
        if self.in_atomic_block:
            self.closed_in_transaction = self.needs_rollback = True

    def _cursor(self, name=None):
        if self.user_key is not None and Hooks.before_cursor is not None:
            Hooks.before_cursor(self)
        return super()._cursor(name)

    def create_cursor(self, name=None):
        cursor = self.connection.cursor(factory=Cursor)
        cursor.user_key = self.user_key
        if self.lease is not None:
            self.lease.handle.cursors.add(cursor)
        return cursor
