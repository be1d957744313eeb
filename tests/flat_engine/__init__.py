"""An engine written from the documentation: SQLite files side by side in one directory."""

import fcntl
import os
import secrets
import shutil
import sqlite3
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from django.core.checks import Error

from dsud.engines.base import BaseEngine
from dsud.engines.staged import Staged
from dsud.exceptions import (
    InvalidUserKey,
    UserDatabaseAlreadyExists,
    UserDatabaseDoesNotExist,
    UserDatabaseUnavailable,
)


class StagedFile(Staged):
    """A file that no user's link leads to yet."""

    def __init__(self, engine, user_key, path):
        self.engine, self.user_key, self.path = engine, user_key, path
        engine.staged.files[user_key] = self

    def publish(self):
        """Link the user's place to the file; a link is made at once or not at all."""
        try:
            self.engine.place(self.user_key).symlink_to(self.path.name)
        except FileExistsError:
            message = f"User {self.user_key!r} has a database already."
            raise UserDatabaseAlreadyExists(self.user_key, message) from None
        self.engine.sync(self.engine.location)
        self.forget()
        self.path = None

    def discard(self):
        """Remove the file, unless it is published or removed already."""
        self.forget()
        if self.path is not None:
            shutil.rmtree(self.path.with_suffix(".files"), ignore_errors=True)
            self.path.unlink(missing_ok=True)
            self.path = None

    def forget(self):
        """Let this thread see what everybody sees."""
        if self.engine.staged.files.get(self.user_key) is self:
            del self.engine.staged.files[self.user_key]


class StagedHere(threading.local):
    """What this thread has staged, by user."""

    def __init__(self):
        self.files = {}


class Engine(BaseEngine):
    """A link for each user, `<key>.user`, to a file whose name is never used again."""

    backend = __name__

    def __init__(self, alias, settings):
        super().__init__(alias, settings)
        self.location = Path(settings["LOCATION"])
        self.staged = StagedHere()

    def name(self, user_key):
        """Spell a key so that no two look alike, whatever the file system makes of case."""
        try:
            name = user_key.encode().hex()
        except UnicodeEncodeError:
            raise InvalidUserKey(user_key, "it is not valid Unicode") from None
        if not 0 < len(name) <= 200:
            raise InvalidUserKey(user_key, "it is empty or too long")
        return name

    def place(self, user_key):
        return self.location / f"{self.name(user_key)}.user"

    def new_path(self, user_key, suffix):
        return self.location / f"{self.name(user_key)}-{secrets.token_hex(8)}{suffix}"

    def sync(self, path):
        """Have a file or a directory survive the loss of power."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # Asking

    def database_settings(self, user_key):
        options = {"timeout": 20, "transaction_mode": "IMMEDIATE"}
        return {"NAME": str(self.place(user_key)), "USER_KEY": user_key, "OPTIONS": options}

    def exists(self, user_key):
        return self.place(user_key).is_symlink()

    def keys(self):
        for link in self.location.glob("*.user"):
            yield bytes.fromhex(link.stem).decode()

    def size(self, user_key):
        return self.published_path(user_key).stat().st_size

    def published_path(self, user_key):
        """Return where the user's link leads to."""
        try:
            return self.location / self.place(user_key).readlink()
        except FileNotFoundError:
            message = f"User {user_key!r} has no database."
            raise UserDatabaseDoesNotExist(user_key, message) from None

    def path_to_open(self, user_key):
        """Return the file that is the user's for this thread; ask for it if there is none."""
        there = user_key in self.staged.files or self.exists(user_key)
        if not there and self.when_missing is not None:
            self.when_missing(user_key)
        staged = self.staged.files.get(user_key)
        return self.published_path(user_key) if staged is None else staged.path

    def files_directory(self, user_key):
        directory = self.path_to_open(user_key).with_suffix(".files")
        directory.mkdir(exist_ok=True)
        return directory

    # The location

    def is_initialized(self):
        return (self.location / "initialized").exists()

    def initialize(self):
        self.location.mkdir(parents=True, exist_ok=True)
        (self.location / "initialized").touch()

    def check(self):
        if unknown := ", ".join(self.options):
            return [Error(f"flat_engine has no options: {unknown}.", id="flat_engine.E001")]
        return []

    def lock(self, user_key):
        return self.locked(f"{self.name(user_key)}.lock", user_key)

    @contextmanager
    def locked(self, name, user_key=""):
        """Keep everybody else out; the system ends the lock of a process that is killed."""
        if not self.is_initialized():
            raise UserDatabaseUnavailable(user_key, "The location of user databases is lost.")
        deadline = time.monotonic() + 30
        with (self.location / name).open("a") as file:
            while True:
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                if time.monotonic() > deadline:
                    message = f"The database of user {user_key!r} is busy."
                    raise UserDatabaseUnavailable(user_key, message)
                time.sleep(0.01)
            yield

    # Making and deleting

    def template(self, fingerprint):
        return self.location / f"{fingerprint}.template"

    def has_template(self, fingerprint):
        return self.template(fingerprint).exists()

    def build_template(self, fingerprint, migrate):
        with self.locked("template.lock"):
            if not self.has_template(fingerprint):
                unfinished = self.location / "template.unfinished"
                unfinished.unlink(missing_ok=True)
                migrate({"NAME": str(unfinished)})
                self.sync(unfinished)
                unfinished.rename(self.template(fingerprint))

    def stage(self, user_key, fingerprint, *, rows=()):
        path = self.new_path(user_key, ".sqlite3")
        shutil.copyfile(self.template(fingerprint), path)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE flat_engine_owner (user_key TEXT NOT NULL)")
            connection.execute("INSERT INTO flat_engine_owner VALUES (?)", [user_key])
            for each in rows:
                places = ", ".join("?" * len(each.columns))
                into = f'"{each.table}" ({", ".join(each.columns)})'
                connection.executemany(f"INSERT INTO {into} VALUES ({places})", each.values)
        self.sync(path)
        return StagedFile(self, user_key, path)

    def staged_here(self, user_key):
        return self.staged.files.get(user_key)

    def delete(self, user_key):
        self.published_path(user_key)
        self.place(user_key).rename(self.new_path(user_key, ".trash"))
        self.sync(self.location)
