"""Engines that each break one promise of the contract, by which the suite shows that it can fail."""

import shutil
import threading
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import filterfalse, islice
from unittest.mock import patch

from django.utils import timezone

from dsud.engines.sqlite import connection, engine, in_memory, snapshots
from dsud.engines.sqlite.templates import Templates
from dsud.exceptions import NotSupportedByEngine, UserDatabaseUnavailable
from tests import flat_engine


class Engine(engine.Engine):
    """The SQLite engine, with the promise broken that ``OPTIONS`` name."""

    backend = "tests.broken_engines"

    def __new__(cls, alias, settings):
        return super().__new__(globals()[settings["OPTIONS"]["broken"]])

    def __init__(self, alias, settings):
        # Every option that there is not is accepted, too.
        super().__init__(alias, {**settings, "OPTIONS": {}})
        # Not those that this process remembers, because one engine may make them as no other does.
        self._templates = Templates(self.location / ".template")


class Nothing(Engine):
    """Keeps every promise but the one about options."""


# Keys


class SharedSettings(Engine):
    def database_settings(self, user_key):
        return self.__dict__.setdefault(user_key, super().database_settings(user_key))


class NumbersOnly(Engine):
    def database_settings(self, user_key):
        return super().database_settings(str(int(user_key)))


class MakesWhenAsked(Engine):
    def exists(self, user_key):
        self.location.mkdir(parents=True, exist_ok=True)
        (self.location / "seen").touch()
        return super().exists(user_key) or (self.location / "seen").exists()


# Places


class PublishesOver(Engine):
    def stage(self, user_key, fingerprint, **first):
        made = super().stage(user_key, fingerprint, **first)
        publish = made.publish

        def publish_over():
            if self.exists(user_key):
                self.delete(user_key)
            publish()

        made.publish = publish_over
        return made


class ShowsStagedToThreads(Engine):
    staged = property(lambda self: self.__dict__.setdefault("_files", {}))


class ShowsStagedToAll(Engine):
    def stage(self, user_key, fingerprint, **first):
        made = super().stage(user_key, fingerprint, **first)
        made.publish()
        made.publish = lambda: None
        return made


class KeepsDiscarded(Engine):
    def stage(self, user_key, fingerprint, **first):
        made = super().stage(user_key, fingerprint, **first)
        made.discard = lambda: None
        return made


class DiscardsPublished(Engine):
    def stage(self, user_key, fingerprint, **first):
        made = super().stage(user_key, fingerprint, **first)
        discard = made.discard

        def discard_all():
            discard()
            if self.exists(user_key):
                self.delete(user_key)

        made.discard = discard_all
        return made


class KeepsTestUsers(Engine):
    def stage_for_test(self, user_key, fingerprint, **first):
        made = self.stage(user_key, fingerprint, **first)
        made.publish()
        return made


class BeginsEmpty(Engine):
    def stage(self, user_key, fingerprint, *, rows=(), **keys):
        return super().stage(user_key, fingerprint, **keys)


class PrefersWhatIsInPlace(Engine):
    def _place(self, user_key):
        return self._live(user_key) or self.staged.get(user_key)


class SharesAmongTestUsers(Engine):
    def open(self, user_key, wrapper, *, database):
        handle = super().open(user_key, wrapper, database=database)
        handle.raw = self.__dict__.setdefault("_raw", handle.raw)
        return handle


class LeavesToTestUsers(Engine):
    """Gives a connection to the next user of a test as it is."""

    def open(self, user_key, wrapper, *, database):
        handle = super().open(user_key, wrapper, database=database)
        handle.__class__ = LeavingHandle
        return handle


class LeavingHandle(in_memory.HandleInMemory):
    __slots__ = ()

    def close(self):
        in_memory.spares.keep(self.raw)


class ListsSome(Engine):
    def keys(self):
        return islice(super().keys(), 50)


class ConstantSize(Engine):
    def size(self, user_key):
        return 4096


class MakesEmptyOnes(Engine):
    when_missing = None

    def _provided_place(self, user_key):
        if not self.exists(user_key) and user_key not in self.staged:
            self.stage(user_key, next(iter(self._templates._images))).publish()
        return super()._provided_place(user_key)


class AsksNobody(Engine):
    when_missing = None


class OpensAnything(Engine):
    def _try_to_open(self, *args, **kwargs):
        with patch.object(connection, "refuse_unless_owned"):
            return super()._try_to_open(*args, **kwargs)


class DeletesNothing(Engine):
    def delete(self, user_key):
        self._deleted = {*getattr(self, "_deleted", ()), user_key}

    def keys(self):
        gone = getattr(self, "_deleted", ())
        return filterfalse(gone.__contains__, super().keys())


class DeletesOthersToo(Engine):
    def delete(self, user_key):
        for key in list(self.keys()):
            super().delete(key)


class ReusesPaths(Engine):
    def delete(self, user_key):
        super().delete(user_key)
        for trash in self.location.glob("*/*/*.deleted"):
            shutil.rmtree(trash)


class BringsBackOldRows(Engine):
    def stage(self, user_key, fingerprint, **first):
        made = super().stage(user_key, fingerprint, **first)
        for trash in self.location.glob("*/*/*.deleted"):
            for path in trash.iterdir():
                shutil.copyfile(path, made.path.parent / path.name)
        return made


# Surroundings


class LocksNobody(Engine):
    def lock(self, user_key):
        return nullcontext()


class LocksThreadsOnly(Engine):
    _locks = defaultdict(threading.RLock)

    def lock(self, user_key):
        return self._locks[user_key]


class LocksForever(Engine):
    @contextmanager
    def lock(self, user_key):
        self.location.mkdir(parents=True, exist_ok=True)
        try:
            (self.location / f"{user_key}.lock").touch(exist_ok=False)
        except FileExistsError:
            raise UserDatabaseUnavailable(user_key, "It is locked.") from None
        yield
        (self.location / f"{user_key}.lock").unlink()


class LocksEverybody(Engine):
    def lock(self, user_key):
        return super().lock("the same for all")


class NeverLost(Engine):
    def is_initialized(self):
        return True


class BuildsEachTime(Engine):
    def build_template(self, fingerprint, migrate):
        with patch.object(self._templates, "has", lambda fingerprint: False):
            super().build_template(fingerprint, migrate)


class ClonesUsers(Engine):
    def stage(self, user_key, fingerprint, **first):
        made = super().stage(user_key, fingerprint, **first)
        for key in list(self.keys())[:1]:
            shutil.copyfile(self._live(key), made.path)
        return made


class OneTemplate(Engine):
    def has_template(self, fingerprint):
        return bool(self._templates._images) or super().has_template(fingerprint)


class OneDirectory(Engine):
    def files_directory(self, user_key):
        super().files_directory(user_key)
        (self.location / "files").mkdir(exist_ok=True)
        return self.location / "files"


# Connections


class AsksNobodyForCursors(Engine):
    """See ``base``."""


class JudgesNobody(Engine):
    """See ``base``."""


class KeepsRefused(Engine):
    """See ``base``."""


class JudgesOnce(Engine):
    """See ``base``."""


class AsksNobodyForRows(Engine):
    """See ``base``."""


class AsksForFirstRowOnly(Engine):
    """See ``base``."""


class KeepsConnections(Engine):
    """See ``base``."""


class HasNoCap(Engine):
    """See ``base``."""


class KeepsReferences(Engine):
    """See ``base``."""


class NeverCleans(Engine):
    def open(self, *args, **kwargs):
        handle = super().open(*args, **kwargs)
        handle.__class__ = UncleanHandle
        return handle


class UncleanHandle(connection.Handle):
    __slots__ = ()

    def clean(self):
        return True


class ForgetsToLook(Engine):
    """Does not see what a statement changes about the connection."""

    def open(self, *args, **kwargs):
        handle = super().open(*args, **kwargs)
        handle.raw.set_authorizer(None)
        return handle


class HasNoForeignKeys(Engine):
    def open(self, *args, **kwargs):
        handle = super().open(*args, **kwargs)
        handle.raw.execute("PRAGMA foreign_keys = OFF")
        return handle


class TrustsNoSchema(Engine):
    def open(self, *args, **kwargs):
        handle = super().open(*args, **kwargs)
        handle.raw.set_authorizer(None)
        handle.raw.execute("PRAGMA trusted_schema = OFF")
        return handle


class CommitsNothing(Engine):
    """See ``base``."""


# Engines that lose their way between keys


class FoldsCase(flat_engine.Engine):
    def name(self, user_key):
        return super().name(user_key.casefold())


class Slugs(flat_engine.Engine):
    def name(self, user_key):
        return super().name("".join(filter(str.isalnum, user_key)) or "x")


class SpellsKeys(flat_engine.Engine):
    """Puts keys into names as they are, which works until one is like a name of the system."""

    def place(self, user_key):
        self.name(user_key)
        return self.location / f"{user_key.replace('/', '%')}.user"


class KeepsBrokenTemplates(flat_engine.Engine):
    def build_template(self, fingerprint, migrate):
        migrate({"NAME": str(self.template(fingerprint))})


# Primary keys


class GivesNoRanges(Engine):
    def stage(self, user_key, fingerprint, *, keys=None):
        return super().stage(user_key, fingerprint)

    def stage_for_test(self, user_key, fingerprint, *, keys=None):
        return super().stage_for_test(user_key, fingerprint)

    def begin_keys(self, connection, keys):
        return keys.start


class OneSequence(Engine):
    def begin_keys(self, connection, keys):
        every = [name for name in connection.introspection.table_names() if "conformance" in name]
        return super().begin_keys(connection, replace(keys, tables=(*keys.tables, *every)))


class StartsOver(Engine):
    def begin_keys(self, connection, keys):
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM sqlite_sequence")
        return super().begin_keys(connection, keys)


class KnowsNoNumber(Engine):
    def key_number(self, connection):
        return None


class DoesNotLook(Engine):
    def begin_keys(self, connection, keys):
        super().begin_keys(connection, keys)
        return keys.start


class CannotAfterAll(Engine):
    def begin_keys(self, connection, keys):
        raise NotSupportedByEngine(self.alias, "do it")


class GivesKeysTwice(Engine):
    """See ``base``."""


# What an engine may do besides


class RefusesNothing(Engine):
    def read_only(self, connection):
        return nullcontext()


class FreesTooEarly(Engine):
    @contextmanager
    def read_only(self, connection):
        with super().read_only(connection):
            yield
        connection._set_read_only(on=False)


class KeepsWritersOut(Engine):
    def read_only(self, connection):
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 100")
        return super().read_only(connection)

    def open(self, user_key, wrapper, *, database):
        wrapper._start_transaction_under_autocommit = lambda: wrapper.cursor().execute(
            "BEGIN EXCLUSIVE"
        )
        return super().open(user_key, wrapper, database=database)


class WritesWhereItReads(Engine):
    def reading(self, user_key):
        found = super().reading(user_key)
        found._where = (found._where[0].replace("mode=ro", "mode=rw"), *found._where[1:])
        return found


class ReadsAnybodys(Engine):
    def reading(self, user_key):
        return reading_unverified(super().reading(user_key))


@contextmanager
def reading_unverified(found):
    with patch.object(connection, "refuse_unless_owned"), found as cursor:
        yield cursor


class NeverEndsReading(Engine):
    begun = []  # For who tries it to end them, or they count against the cap for ever.

    def reading(self, user_key):
        found = super().reading(user_key)
        self.begun.append(found)
        return nullcontext(found.__enter__())


class MakesWhatItReads(Engine):
    def reading(self, user_key):
        if not self.exists(user_key):
            self.stage(user_key, next(iter(self._templates._images))).publish()
        return super().reading(user_key)


class WrittenLongAgo(Engine):
    def last_written(self, user_key):
        found = super().last_written(user_key)
        return found and found.replace(year=1999)


class WrittenByNobody(Engine):
    def last_written(self, user_key):
        return timezone.now()


class TakesNoSnapshotsAfterAll(Engine):
    def take_snapshot(self, user_key, name):
        raise NotSupportedByEngine(self.alias, "take snapshots")


class RestoresNothing(Engine):
    def restore_snapshot(self, user_key, name):
        if name not in self.snapshots(user_key):
            super().restore_snapshot(user_key, name)


class RestoresAnything(Engine):
    def restore_snapshot(self, user_key, name):
        if name in self.snapshots(user_key):
            super().restore_snapshot(user_key, name)


class KeepsAllSnapshots(Engine):
    def take_snapshot(self, user_key, name):
        with patch.object(snapshots, "KEPT", 1000):
            super().take_snapshot(user_key, name)


class ListsTheNewestFirst(Engine):
    def snapshots(self, user_key):
        return super().snapshots(user_key)[::-1]


class SharesSnapshots(Engine):
    def snapshots(self, user_key):
        return [name for key in self.keys() for name in super(SharesSnapshots, self).snapshots(key)]


class CopiesNothing(Engine):
    def stage_copy(self, user_key):
        return self.stage(user_key, next(iter(self._templates._images)))


class RehearsesInPlace(Engine):
    def stage_copy(self, user_key):
        staged = super().stage_copy(user_key)
        staged.discard()
        return staged


class StampsAll(Engine):
    def has_stamp(self, user_key, fingerprint):
        return True


class SeesNoStamp(Engine):
    def has_stamp(self, user_key, fingerprint):
        return False


class AttachesAnother(Engine):
    def attachable(self, user_key):
        super().attachable(user_key)
        return "file::memory:"


class AttachesNobodys(Engine):
    def attachable(self, user_key):
        return super().attachable(user_key) if self.exists(user_key) else "file::memory:"


class AttachesUnasked(flat_engine.Engine):
    def attachable(self, user_key):
        return "file::memory:"


class PreparesNothing(Engine):
    def stage_from(self, user_key, source, *, prepare):
        return super().stage_from(user_key, source, prepare=lambda copy: None)


class TakesOverAtOnce(Engine):
    def stage_from(self, user_key, source, *, prepare):
        staged = super().stage_from(user_key, source, prepare=prepare)
        staged.publish()
        staged.publish = lambda: None
        return staged
