"""The site as servers load it: each error that a view raises is told to the server's log."""

from __future__ import annotations

import sys

from django.core.signals import got_request_exception

from benchmarks.diary.application import application, asynchronous
from benchmarks.serving import MARK

__all__ = ["application", "asynchronous"]


def report(**kwargs: object) -> None:
    """Write the error that is being handled, because Django does not in production."""
    sys.stderr.write(f"{MARK}{sys.exc_info()[1]!r}\n")
    sys.stderr.flush()


got_request_exception.connect(report)
