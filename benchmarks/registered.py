"""A site on which many users are registered, of whom a few come; the others are made by SQL."""

from __future__ import annotations

from django.apps import apps
from django.db import connection

from benchmarks.visits import fill, visit

__all__ = ["fill", "register", "visit"]

NUMBERS = """
WITH RECURSIVE numbers (n) AS (
    SELECT 1000000 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < 1000000 + %s
)
"""
USERS = """
INSERT INTO auth_user (id, username, password, first_name, last_name, email, is_superuser,
                       is_staff, is_active, date_joined)
SELECT n, 'of-many-' || n, '', '', '', '', 0, 0, 1, '2026-01-01' FROM numbers
"""
SESSIONS = """
INSERT INTO django_session (session_key, session_data, expire_date)
SELECT lower(hex(randomblob(16))), hex(randomblob(90)), '2036-01-01' FROM numbers
"""
DATABASES = """
INSERT INTO dsud_userdatabase (user_key, state, schema, last_error, created)
SELECT n, 'ready', '', '', '2026-01-01' FROM numbers
"""
NOTES = """
INSERT INTO together_note (title, text, pinned, created, owner_id)
SELECT 'A note', 'Its text', 0, '2026-01-01', n + 0 * each FROM numbers,
       (WITH RECURSIVE few (each) AS (SELECT 1 UNION ALL SELECT each + 1 FROM few WHERE each < %s)
        SELECT each FROM few)
"""


def register(*, more: int, notes: int) -> None:
    """Register so many more users: rows, sessions, and what the site keeps of each in ``default``."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        for sql in (USERS, SESSIONS):
            cursor.execute(NUMBERS + sql, [more])
        if apps.is_installed("dsud"):
            cursor.execute(NUMBERS + DATABASES, [more])
        else:
            cursor.execute(NUMBERS + NOTES, [more, notes])
        cursor.execute("COMMIT")
        # Because a -wal of thousands of pages slows every reader, whoever wrote it.
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
