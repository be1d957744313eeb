"""The Django connection of the engines that break a promise about connections."""

from django.db.backends.sqlite3.schema import DatabaseSchemaEditor

from dsud import engines
from dsud.engines.hooks import Hooks
from dsud.engines.sqlite import base, schema
from dsud.engines.sqlite.connection import Cursor
from dsud.leases import Force, Lease


def breaks(name: str) -> bool:
    return type(engines.engine()).__name__ == name


class CursorThatAsksNobody(Cursor):
    def _turn(self):
        return self.lock


class CursorThatAsksOnce(Cursor):
    asked = False

    def _turn(self):
        if self.asked:
            return self.lock
        self.asked = True
        return super()._turn()


class ForgetfulEditor(schema.DatabaseSchemaEditor):
    def _hand_on_sequence(self, **tables):
        pass


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, settings_dict, alias):
        super().__init__(settings_dict, alias)
        if breaks("KeepsReferences"):
            self.SchemaEditorClass = DatabaseSchemaEditor
        if breaks("GivesKeysTwice"):
            self.SchemaEditorClass = ForgetfulEditor

    def _judge(self, lease):
        if breaks("JudgesNobody"):
            return
        if breaks("JudgesOnce"):
            lease.handle.judged = True
        if breaks("KeepsRefused"):
            lease.handle.judged = Hooks.judge_schema(self, opened=True)
        else:
            super()._judge(lease)

    def _cursor(self, name=None):
        if breaks("AsksNobodyForCursors"):
            return super(base.DatabaseWrapper, self)._cursor(name)
        return super()._cursor(name)

    def create_cursor(self, name=None):
        cursor = super().create_cursor(name)
        if isinstance(cursor, Cursor) and breaks("AsksNobodyForRows"):
            cursor.__class__ = CursorThatAsksNobody
        if isinstance(cursor, Cursor) and breaks("AsksForFirstRowOnly"):
            cursor.__class__ = CursorThatAsksOnce
        return cursor

    def surrender(self, lease, *, force):
        if force is not Force.EVERYTHING and breaks("KeepsConnections"):
            return False
        return super().surrender(lease, force=force)

    def _take_lease(self, user_key):
        if breaks("HasNoCap"):
            handle = engines.engine().open(user_key, self, database=user_key)
            return Lease(handle, self, opened=True)
        return super()._take_lease(user_key)

    def _commit(self):
        if self.user_key is not None and breaks("CommitsNothing"):
            return super()._rollback()
        return super()._commit()
