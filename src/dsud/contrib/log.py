"""Log records that say whose data the code was working on."""

from __future__ import annotations

from logging import Filter, LogRecord

from dsud.context import current_activation

#: What stands in a record when nobody is active, or nobody has been looked up yet.
NOBODY = "-"


class UserKeyFilter(Filter):
    """Give each record a ``user_key``: whose database was reached last in this context, or ``-``.

    It never looks anybody up, because logging must not query: what a request logs before it first
    uses a user model says ``-``.
    """

    def filter(self, record: LogRecord) -> bool:
        """Add the key, and let every record pass."""
        activation = current_activation()
        key = None if activation is None else activation.glance()
        record.user_key = NOBODY if key is None else _one_line(key)
        return True


def _one_line(key: str) -> str:
    # Because a key may be any text, and a line break in it would forge a record.
    return key if key.isprintable() else ascii(key)
