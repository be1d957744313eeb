"""A site on which many users are registered, of whom a few come; the others are made by SQL."""

from __future__ import annotations

from django.apps import apps
from django.db import connection, transaction

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
SELECT n, 'of-many-' || n, '', '', '', '', FALSE, FALSE, TRUE, '2026-01-01' FROM numbers
"""
SESSIONS = """
INSERT INTO django_session (session_key, session_data, expire_date)
SELECT 'a-session-of-somebody-who-is-' || n, 'ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss', '2036-01-01' FROM numbers
"""
DATABASES = """
INSERT INTO dsud_userdatabase (user_key, state, schema, last_error, created)
SELECT n, 'ready', '', '', '2026-01-01' FROM numbers
"""
NOTES = """
INSERT INTO together_note (title, text, pinned, created, owner_id)
SELECT 'A note', 'Its text', FALSE, '2026-01-01', n + 0 * each FROM numbers,
       (WITH RECURSIVE few (each) AS (SELECT 1 UNION ALL SELECT each + 1 FROM few WHERE each < {notes})
        SELECT each FROM few) AS notes
"""
SCHEMAS = "INSERT INTO customers_client (id, schema_name) SELECT n, 'of_many_' || n FROM numbers"
HOSTS = """
INSERT INTO customers_domain (domain, is_primary, tenant_id)
SELECT 'of-many-' || n || '.diary.example', TRUE, n FROM numbers
"""


def register(*, more: int, notes: int) -> None:
    """Register so many more users: rows, sessions, and what the site keeps of each in ``default``.

    They have no files and no schemas, because nobody comes who would need them.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        for sql in (USERS, SESSIONS, *_of_the_site(notes)):
            cursor.execute(NUMBERS + sql, [more])
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            # Because a -wal of thousands of pages slows every reader, whoever wrote it.
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            cursor.execute("VACUUM ANALYZE")  # As its own daemon does, some time later.


def _of_the_site(notes: int) -> tuple[str, ...]:
    """Return the statements for what the site keeps of each user."""
    if apps.is_installed("benchmarks.diary.together"):
        return (NOTES.format(notes=notes),)
    if apps.is_installed("django_tenants"):
        return (SCHEMAS, HOSTS)
    return (DATABASES,) if "userdatabase" in apps.all_models["dsud"] else ()  # Of ours.
