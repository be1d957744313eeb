"""Runs one test as often as each line of its input says, and prints how many seconds it took each time."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from time import perf_counter

from django.conf import settings


def with_django() -> Callable[[], None]:
    """Set tests up as the runner of the settings does, and return the test with all that is around it."""
    import django

    django.setup()
    from django.contrib.auth.models import User
    from django.test import TestCase
    from django.test.utils import get_runner

    from recipes.models import Recipe

    runner = get_runner(settings)(verbosity=0, interactive=False)
    runner.setup_test_environment()
    runner.setup_databases()

    class OneTest(TestCase):
        def runTest(self) -> None:  # noqa: N802, because unittest names it so
            owner = User.objects.create(username="alice")
            Recipe.objects.create(owner=owner, title="Soup")

    OneTest.setUpClass()
    return lambda: OneTest().debug()


def bare() -> Callable[[], None]:
    """Return the least that a fresh database costs: a copy of one with tables, opened, used and closed."""
    tables = "".join(f"CREATE TABLE t{n} (id INTEGER PRIMARY KEY, title TEXT);" for n in range(9))
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(tables)
        image = connection.serialize()

    def use() -> None:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(image)
            connection.execute("INSERT INTO t1 (title) VALUES ('Soup')")
            connection.commit()

    return use


def main() -> None:
    """Answer each line of the input with one of figures."""
    import os

    test = with_django() if os.environ["DJANGO_SETTINGS_MODULE"] else bare()
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            begun = perf_counter()
            test()
            seconds.append(perf_counter() - begun)
        sys.stdout.write(json.dumps(seconds) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
