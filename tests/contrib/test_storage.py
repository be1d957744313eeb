"""A user's files lie beside the user's database, and nobody else's name, object or address reaches them."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InMemoryStorage, storages
from django.db import connections, models
from django.db.models.fields.files import FieldFile
from django.test import Client
from django.test.utils import isolate_apps
from django.urls import path

from dsud import use_user
from dsud.contrib.storage import StorageOfOwner, UserFileStorage, UserFileView
from dsud.exceptions import NoActiveUser, UserDatabaseDoesNotExist, WrongUser
from tests.notes.models import Note

STORAGE = UserFileStorage(base_url="/files/")


def write(name: str, text: str) -> str:
    return STORAGE.save(name, ContentFile(text.encode()))


def read(name: str) -> str:
    with STORAGE.open(name) as file:
        return file.read().decode()


def content(file: FieldFile) -> bytes:
    with file.open() as opened:
        return opened.read()


@pytest.fixture
def two_files(alice: User, bob: User) -> None:
    """Give both users a file of one name."""
    for user in (alice, bob):
        with use_user(user):
            write("plans/photo.png", f"of {user}")


# Names


def test_same_name__is_another_file_for_another_user(
    two_files: None, alice: User, bob: User
) -> None:
    with use_user(alice):
        assert read("plans/photo.png") == "of alice"
        assert STORAGE.size("plans/photo.png") == 8
    with use_user(bob):
        assert read("plans/photo.png") == "of bob"
        STORAGE.delete("plans/photo.png")
        assert STORAGE.listdir("") == (["plans"], [])
        assert STORAGE.listdir("plans") == ([], [])
    with use_user(alice):
        assert STORAGE.listdir("plans") == ([], ["photo.png"])


def test_file__lies_beside_the_database(location: Path, transactional_db: None) -> None:
    user = User.objects.create_user("alice")
    with use_user(user):
        Note.objects.create(text="hers")
        write("plans/photo.png", "hers")

    (database,) = location.glob("??/*/*/db.sqlite3")
    file = database.parent / "files" / "plans" / "photo.png"
    assert file.read_text() == "hers"
    modes = [f"{each.stat().st_mode & 0o777:o}" for each in (file, *file.parents[:2])]
    assert modes == ["600", "700", "700"]


def test_first_file__makes_the_database(location: Path, settings, transactional_db: None) -> None:
    settings.DSUD_PROVISION = ["first_use"]
    user = User.objects.create_user("alice")
    assert not list(location.glob("??/*/*/db.sqlite3"))

    with use_user(user):
        write("photo.png", "hers")
        assert Note.objects.count() == 0

    (database,) = location.glob("??/*/*/db.sqlite3")
    assert (database.parent / "files" / "photo.png").exists()


@pytest.mark.parametrize("user_is", ["nobody", "left"])
def test_nobody__has_no_files(two_files: None, alice: User, user_is: str) -> None:
    if user_is == "left":
        with use_user(alice):
            STORAGE.exists("plans/photo.png")
    for use in (read, STORAGE.exists, STORAGE.delete, STORAGE.listdir, STORAGE.path):
        with pytest.raises(NoActiveUser) as raised:
            use("plans/photo.png")
    with pytest.raises(NoActiveUser):
        write("plans/photo.png", "whose")

    assert str(raised.value) == (
        "No user is active, so there is no directory of files to reach. Log in, or wrap the code"
        " in `with dsud.use_user(user):`."
    )


@pytest.mark.parametrize(
    "name", ["../db.sqlite3", "plans/../../db.sqlite3", "/etc/passwd", "../../../2/1/files/a.txt"]
)
@pytest.mark.parametrize("use", [read, lambda name: write(name, "x"), STORAGE.delete, STORAGE.size])
def test_name__cannot_lead_out(two_files: None, alice: User, name: str, use: Callable) -> None:
    with use_user(alice), pytest.raises(SuspiciousFileOperation):
        use(name)


def test_deleted_users_files__go_with_the_database(location: Path, transactional_db: None) -> None:
    user = User.objects.create_user("alice")
    key = str(user.pk)
    with use_user(user):
        write("photo.png", "hers")
    user.delete()

    (file,) = location.rglob("photo.png")
    assert file.parents[1].name.endswith(".deleted")
    with use_user(key), pytest.raises(UserDatabaseDoesNotExist):
        write("photo.png", "too late")


# Set-up


def test_storage__can_be_named_in_settings(settings, two_files: None, alice: User) -> None:
    backend = "dsud.contrib.storage.UserFileStorage"
    options = {"base_url": "/files/", "allow_overwrite": True}
    settings.STORAGES = {"users": {"BACKEND": backend, "OPTIONS": options}}

    with use_user(alice):
        assert storages["users"].save("plans/photo.png", ContentFile(b"new")) == "plans/photo.png"
        assert read("plans/photo.png") == "new"


def test_storage__is_written_into_migrations_as_it_was_made() -> None:
    assert STORAGE.deconstruct() == (
        "dsud.contrib.storage.UserFileStorage",
        (),
        {"base_url": "/files/"},
    )


def test_url__is_the_same_for_everybody(two_files: None, alice: User) -> None:
    assert STORAGE.url("plans/my photo.png") == "/files/plans/my%20photo.png"


def test_url__needs_a_base_url(settings) -> None:
    settings.MEDIA_URL = "/media/"
    with pytest.raises(
        ValueError, match=r"^These files have no URL: give the storage a base_url\.$"
    ):
        UserFileStorage().url("photo.png")


# Objects with files


@pytest.fixture
def attachment(transactional_db: None, alice: User, bob: User) -> models.Model:
    """Return an object of alice's with a file, of which bob has the same."""
    for user in (alice, bob):
        with use_user(user):
            with connections[f"user_{user.pk}"].schema_editor() as editor:
                editor.create_model(Attachment)
            made = Attachment(name=f"of {user}")
            made.file.save("photo.png", ContentFile(f"of {user}".encode()))
            made.everybodys.save("photo.png", ContentFile(b"of everybody"))
            assert (made.pk, made.file.name) == (1, "photo.png")
    with use_user(alice):
        return Attachment.objects.get()


with isolate_apps("tests.notes"):

    class Attachment(models.Model):
        """A row with a file."""

        name = models.TextField()
        file = models.FileField(storage=STORAGE)
        everybodys = models.FileField(storage=InMemoryStorage())

        class Meta:
            app_label = "notes"


def test_objects_file__is_its_owners(attachment: models.Model, alice: User) -> None:
    with use_user(alice):
        assert content(attachment.file) == b"of alice"
        assert attachment.file.url == "/files/photo.png"
        attachment.file.delete()
        assert STORAGE.listdir("") == ([], [])


USES = {
    "open": lambda file: file.open(),
    "read": lambda file: file.read(),
    "path": lambda file: file.path,
    "url": lambda file: file.url,
    "size": lambda file: file.size,
    "delete": lambda file: file.delete(save=False),
    "save": lambda file: file.save("photo.png", ContentFile(b"new"), save=False),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_objects_file__is_out_of_reach_for_others(
    attachment: models.Model, alice: User, bob: User, use: Callable[[FieldFile], object]
) -> None:
    with use_user(bob):
        with pytest.raises(WrongUser) as raised:
            use(attachment.file)
        assert STORAGE.listdir("") == ([], ["photo.png"])
        assert read("photo.png") == "of bob"

    assert (raised.value.owner, raised.value.active) == (str(alice.pk), str(bob.pk))


def test_objects_file__needs_somebody(attachment: models.Model) -> None:
    with pytest.raises(NoActiveUser):
        attachment.file.read()


def test_objects_file__stays_guarded_when_it_was_pickled(
    monkeypatch: pytest.MonkeyPatch, attachment: models.Model, alice: User, bob: User
) -> None:
    # Because unpickling looks the model up by its name, which is not registered.
    monkeypatch.setitem(apps.all_models["notes"], "attachment", Attachment)
    file = pickle.loads(pickle.dumps(attachment.file))

    with use_user(alice):
        assert content(file) == b"of alice"
    with use_user(bob), pytest.raises(WrongUser):
        pickle.loads(pickle.dumps(attachment.file)).read()


def test_file_in_another_storage__is_not_guarded(attachment: models.Model, bob: User) -> None:
    with use_user(bob):
        assert content(attachment.everybodys) == b"of everybody"


def test_new_objects_file__is_the_active_users(attachment: models.Model, bob: User) -> None:
    with use_user(bob):
        new = Attachment(name="new")
        new.file.save("new.png", ContentFile(b"new"))
        assert read("new.png") == "new"


# Serving


urlpatterns = [path("files/<path:name>", UserFileView.as_view())]


@pytest.fixture
def browser(settings, two_files: None, alice: User) -> Client:
    """Return the browser of alice."""
    settings.ROOT_URLCONF = __name__
    browser = Client()
    browser.force_login(alice)
    return browser


def test_view__sends_the_active_users_file(browser: Client, bob: User) -> None:
    with use_user(bob):
        response = browser.get("/files/plans/photo.png")

    assert b"".join(response) == b"of alice"
    assert response["Content-Type"] == "image/png"
    assert response["Content-Disposition"] == 'inline; filename="photo.png"'
    assert response["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"
    assert response["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["page.html", "drawing.svg", "script.js", "unknown", "a.txt.gz"])
def test_view__lets_browsers_show_no_pages(browser: Client, alice: User, name: str) -> None:
    with use_user(alice):
        write(name, "<script>alert(1)</script>")

    response = browser.get(f"/files/{name}")

    assert response["Content-Disposition"] == f'attachment; filename="{name}"'
    response.close()


@pytest.mark.parametrize("name", ["none.png", "plans", "plans/photo.png/x", "%00", "n" * 300])
def test_view__finds_nothing_where_there_is_no_file(browser: Client, name: str) -> None:
    assert browser.get(f"/files/{name}").status_code == 404


@pytest.mark.parametrize("name", ["../db.sqlite3", "/etc/passwd", "plans/../../db.sqlite3"])
def test_view__refuses_names_that_lead_out(browser: Client, name: str) -> None:
    assert browser.get(f"/files/{name}").status_code == 400


def test_view__refuses_visitors(browser: Client) -> None:
    browser.logout()

    assert browser.get("/files/plans/photo.png").status_code == 403


def test_view__only_reads(browser: Client) -> None:
    assert browser.post("/files/plans/photo.png").status_code == 405
    response = browser.head("/files/plans/photo.png")
    assert (response.status_code, response["Content-Length"]) == (200, "8")
    response.close()


def test_storage__is_a_file_system_storage() -> None:
    assert isinstance(STORAGE, FileSystemStorage)
    assert isinstance(FieldFile.storage, StorageOfOwner)
