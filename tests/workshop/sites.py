"""The site in other processes: generated once with one database, then split or merged by tests."""

import shutil
from pathlib import Path

from tests.sites import Site

SINGLE = "tests.workshop.single_settings"
SPLIT = "tests.workshop.settings"

#: What scripts need on the site with user databases.
TOOLS = """
import io, json, random, shutil, sqlite3, threading
from contextlib import closing
from unittest import mock
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS
from dsud.adoption import attached, split
from dsud.adoption.plan import make_plan
from tests.workshop.models import *
from tests.workshop.portraits import as_text, portrait, shape, unfiltered

def run(*arguments, **options):
    output = io.StringIO()
    call_command("split_to_user_dbs", "--copy", "workshop.Word", *arguments, stdout=output, **options)
    return output.getvalue()

def refused(*arguments, **options):
    try:
        run(*arguments, **options)
    except CommandError as error:
        return str(error), error.returncode
    raise AssertionError("not refused")

def merged(*arguments, **options):
    output = io.StringIO()
    call_command("merge_user_dbs", "--copy", "workshop.Word", *arguments, stdout=output, **options)
    return output.getvalue()

def not_merged(*arguments, **options):
    try:
        merged(*arguments, **options)
    except CommandError as error:
        return str(error), error.returncode
    raise AssertionError("not refused")

def shapes():
    answers = {}
    for user in User.objects.order_by("pk"):
        with use_user(user):
            answers[user.username] = shape(user)
    return as_text(answers)

def portraits():
    answers = {}
    for user in User.objects.order_by("pk"):
        with use_user(user):
            answers[user.username] = portrait(user)
    return as_text(answers)

class KilledAt:
    '''Kill this process at its n-th call, whatever it is calling then.'''
    def __init__(self, moment):
        self.left = moment
    def __call__(self, frame, event, argument):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def calls_of(function):
    reader, writer = os.pipe()
    def count(_):
        clock = KilledAt(0)
        sys.setprofile(clock)
        function()
        sys.setprofile(None)
        os.write(writer, str(-clock.left).encode())
    assert in_children(1, count) == [0]
    return int(os.read(reader, 100))

def source(sql, *params):
    with connections["default"].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall()) if cursor.description else cursor.rowcount
"""

PORTRAITS = """
from tests.workshop.portraits import as_text, portrait
print(as_text({user.username: portrait(user) for user in User.objects.order_by("pk")}))
"""

SHAPES = """
from tests.workshop.portraits import as_text, shape
print(as_text({user.username: shape(user) for user in User.objects.order_by("pk")}))
"""

#: What the prelude of scripts imports, on a site that knows nothing of dsud.
PLAIN = """
import django
django.setup()
from django.core.management import call_command
from django.contrib.auth import get_user_model
User = get_user_model()
"""


def make_site(directory: Path, *, users: int, units: int) -> str:
    """Make the site with one database, give it the tables of dsud, and return its portraits."""
    single = Site(directory, settings=SINGLE)
    text = run_plain(
        single,
        f"""
call_command("migrate", verbosity=0)
from tests.workshop.generate import generate
generate({users}, units={units})
{PORTRAITS}
""",
    )
    Site(directory, settings=SPLIT).run('call_command("migrate", verbosity=0)')
    return text.strip()


def run_plain(site: Site, code: str) -> str:
    """Run a script on the site without dsud."""

    finished = site.script(PLAIN + code)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def copy_of(directory: Path, target: Path) -> Site:
    """Return a copy of a site with settings for user databases."""
    shutil.copytree(directory, target)
    return Site(target, settings=SPLIT)
