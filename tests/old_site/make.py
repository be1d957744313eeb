"""Make the files beside this script with django-sqlite-user-db 0.1.2 itself.

They are what tests take over. To make them anew, in an environment of their own:

    pip install django-sqlite-user-db==0.1.2 "Django==5.2.19"
    PYTHONPATH=. python tests/old_site/make.py
"""

import shutil
import sys
from pathlib import Path

import django
from django.apps import AppConfig
from django.conf import settings
from django.core.management import call_command
from dsud.decorators import user_model, user_specific_app_config

HERE = Path(__file__).parent
FILES = HERE / "files"


@user_specific_app_config
class Notes(AppConfig):
    name = "tests.notes"


@user_specific_app_config
class Archive(AppConfig):
    name = "tests.archive"


class Library(AppConfig):
    name = "tests.library"

    def ready(self):
        user_model(self.get_model("Loan"))


def configure(*, routed):
    apps = ["notes.Notes", "archive.Archive", "library.Library"]
    settings.configure(
        SECRET_KEY="old",
        USE_TZ=True,
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
            "dsud",
            *[f"__main__.{name.partition('.')[2]}" for name in apps],
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": HERE / "default.sqlite3",
            }
        },
        USER_DB_DIR=FILES,
        DATABASE_ROUTERS=["dsud.routers.DatabaseRouter"] if routed else [],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()


def sign_up(name):
    from django.contrib.auth.models import User

    return User.objects.create_user(name, password="secret")


def write(user, *texts):
    """Write notes with tags, and delete the last one, so that its key is not free."""
    from dsud.middleware import request_user_db
    from tests.archive.models import Draft, Folder
    from tests.notes.models import Note, Tag

    with request_user_db(user):
        tag = Tag.objects.create(name="of " + user.username)
        for text in texts:
            Note.objects.create(text=text).tags.add(tag)
        Note.objects.create(text="deleted").delete()
        Draft.objects.create(folder=Folder.objects.create(name="f"), text="sheet", version=2)


def make():
    """Make alice's and bob's, carol's without rows, and the template as the package knows it."""
    from dsud.utils import get_user_database_path, setup_user_db

    call_command("migrate", verbosity=0)
    setup_user_db("template")
    alice, bob, _ = map(sign_up, ("alice", "bob", "carol"))
    write(alice, "soup", "bread")
    write(bob, "bike")
    assert Path(get_user_database_path(alice.pk)).exists()


def make_without_router():
    """Make dave's, who is the fourth, on a site whose settings lacked the router.

    His file has all tables, those of users and sessions included, and everybody's rows in them.
    """
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore

    call_command("migrate", verbosity=0)
    for name in ("alice", "bob", "carol"):
        sign_up(name)
    for path in FILES.glob("*"):
        path.unlink()
    dave = sign_up("dave")
    session = SessionStore()
    session["of"] = "somebody"
    session.create()
    from tests.notes.models import Note

    Note.objects.create(text="garden")
    shutil.copyfile(HERE / "default.sqlite3", FILES / f"user_{dave.pk}.sqlite3")
    assert User.objects.count() == dave.pk == 4


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    routed = sys.argv[1:] != ["without-router"]
    configure(routed=routed)
    (make if routed else make_without_router)()
    (HERE / "default.sqlite3").unlink()
