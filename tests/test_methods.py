"""Methods that apps write are not called for another user's objects, of which they know only the keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.contrib.auth.models import User

from dsud import methods, use_user
from dsud.exceptions import WrongUser
from tests.archive.models import Folder, FolderManager, FolderQuerySet, Rebuilt, Sheet

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folders(alice: User, bob: User) -> tuple[Folder, Folder]:
    """Give both users a folder with a sheet, of the same keys, and another folder."""
    made = []
    for user in (alice, bob):
        with use_user(user):
            made.append(Folder.objects.create(name=f"of {user}"))
            Sheet.objects.create(folder=made[-1], text=f"of {user}")
            Folder.objects.create(name="another")
    assert made[0].pk == made[1].pk
    return made[0], made[1]


def everything() -> list[object]:
    """Return all that the active user has."""
    return [list(model.objects.order_by("pk").values_list()) for model in (Folder, Sheet)]


REFUSED: dict[str, Callable[[Folder], object]] = {
    "delete": lambda hers: hers.delete(),
    "clear": lambda hers: hers.clear(),
    "like it": lambda hers: hers.like_it(),
    "first": lambda hers: hers.first_sheet,
    "as new": lambda hers: hers.as_new,
    "cached": lambda hers: hers.kept_sheet,
    "cached by Django": lambda hers: hers.kept_by_django,
    "descriptor": lambda hers: hers.rebuilt,
    "manager": Folder.objects.sheets_of,
    "by name": lambda hers: Folder.objects.sheets_of(folder=hers),
    "async": async_to_sync(Folder.objects.acount_sheets),
    "queryset": lambda hers: Folder.objects.all().after(hers),
    "both": Folder.objects.after,
    "list": lambda hers: Folder.objects.rename_all([hers], name="taken"),
    "tuple": lambda hers: Folder.objects.rename_all(folders=(hers,), name="taken"),
}


@pytest.mark.parametrize("use", REFUSED.values(), ids=REFUSED)
def test_method__of_anothers_object_is_refused(
    folders: tuple[Folder, Folder], alice: User, bob: User, use: Callable[[Folder], object]
) -> None:
    with use_user(bob):
        before = everything()
        with pytest.raises(WrongUser) as caught:
            use(folders[0])
        assert everything() == before
    assert str(caught.value) == (
        f"A archive.Folder of user '{alice.pk}' was used while user '{bob.pk}' is active. Load it"
        f" again inside the block of user '{bob.pk}', or use it inside"
        f" `with use_user('{alice.pk}'):`."
    )


@pytest.mark.parametrize("use", REFUSED.values(), ids=REFUSED)
def test_method__of_ones_own_object_is_free(
    folders: tuple[Folder, Folder], alice: User, use: Callable[[Folder], object]
) -> None:
    with use_user(alice):
        use(folders[0])


def test_method__that_needs_no_rows_is_free(folders: tuple[Folder, Folder], bob: User) -> None:
    with use_user(bob):
        assert folders[0].initials() == "o"
        assert str(folders[0]) == "of alice"
        assert folders[0].myself is folders[0]


def test_method__of_a_related_manager_belongs_to_its_object(
    folders: tuple[Folder, Folder], alice: User, bob: User
) -> None:
    class SheetsOf(FolderManager):
        def __init__(self, instance: Folder) -> None:
            super().__init__()
            self.model, self.instance = Folder, instance

        def number(self) -> int:
            return Sheet.objects.filter(folder_id=self.instance.pk).count()

    methods.install()  # As when the apps are ready, because the class is new.
    with use_user(alice):
        hers = SheetsOf(folders[0])
        assert hers.number() == 1
    with use_user(bob), pytest.raises(WrongUser):
        hers.number()


def test_methods__look_as_they_were_written() -> None:
    assert Folder.delete.alters_data
    assert Folder.clear.__doc__ == "Delete the sheets that have the folder's key."
    assert Folder.first_sheet.__doc__ == "Return the first of them."
    assert iscoroutinefunction(FolderManager.acount_sheets)
    assert FolderQuerySet.after.__name__ == "after"


def test_methods__are_judged_once() -> None:
    before = Folder.clear, FolderManager.sheets_of, vars(Folder)["first_sheet"]

    methods.install()

    assert (Folder.clear, FolderManager.sheets_of, vars(Folder)["first_sheet"]) == before


def test_descriptor__stays_what_it_was(folders: tuple[Folder, Folder], alice: User) -> None:
    descriptor = vars(Folder)["rebuilt"]

    assert Folder.rebuilt is descriptor
    assert isinstance(descriptor, Rebuilt)
    assert type(descriptor).__qualname__ == "Rebuilt"
    methods.install()
    assert type(descriptor).__mro__[1] is Rebuilt
    with use_user(alice):
        assert folders[0].rebuilt == folders[0]


def test_cached_property__that_is_kept_already_came_with_the_object(
    folders: tuple[Folder, Folder], alice: User, bob: User
) -> None:
    with use_user(alice):
        kept = folders[0].kept_sheet
    with use_user(bob):
        assert folders[0].kept_sheet is kept
