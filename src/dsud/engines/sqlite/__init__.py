"""The SQLite engine: every user database is a file of its own."""

from dsud.engines.sqlite.engine import Engine

__all__ = ["Engine"]
