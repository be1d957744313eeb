"""Every setting with its type, its default and what it means, read live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypedDict, TypeVar, cast

from django.apps import apps
from django.conf import settings

T = TypeVar("T")

SIGN_UP = "sign_up"
FIRST_USE = "first_use"

REFUSE = "refuse"
MIGRATE = "migrate"
SERVE = "serve"


class EngineSettings(TypedDict, total=False):
    """One entry of ``USER_DATABASES``: the shape of ``DATABASES`` and ``STORAGES``."""

    ENGINE: str
    LOCATION: str | Path
    OPTIONS: Mapping[str, object]


def default_user_databases() -> dict[str, EngineSettings]:
    """Put user databases beside the project when ``USER_DATABASES`` is not set.

    Without ``BASE_DIR`` there is no LOCATION, and the engine refuses to be built.
    """
    default: EngineSettings = {"ENGINE": "dsud.engines.sqlite"}
    if (base_dir := getattr(settings, "BASE_DIR", None)) is not None:
        default["LOCATION"] = Path(base_dir) / "user_databases"
    return {"default": default}


def default_mirrored_models() -> list[str]:
    """Copy what Django's own relations lead to: users, and content types if they are installed."""
    names = [settings.AUTH_USER_MODEL]
    if apps.is_installed("django.contrib.contenttypes"):
        names.append("contenttypes.ContentType")
    return names


class Setting(Generic[T]):
    """A setting of the project, looked up on every read so that ``override_settings`` works."""

    def __init__(self, default: Callable[[], T]) -> None:
        self.default = default

    def __set_name__(self, owner: type[object], name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type[object]) -> T:
        try:
            return cast(T, getattr(settings, self.name))
        except AttributeError:
            return self.default()


class Conf:
    """The settings of dsud."""

    #: Apps ("notes") or single models ("library.Loan") whose rows live in user databases.
    DSUD_APPS = Setting[Sequence[str]](list)

    #: Shared models of which user databases hold copies; default: users and, if installed, content types.
    DSUD_MIRRORED_MODELS = Setting[Sequence[str]](default_mirrored_models)

    #: Fields of the user model that stay empty in its copies ("password"), or of others ("shop.Item.cost").
    DSUD_UNMIRRORED_FIELDS = Setting[Sequence[str]](lambda: ["password"])

    #: Where user databases live, in the shape of DATABASES; default: BASE_DIR / "user_databases".
    USER_DATABASES = Setting[Mapping[str, EngineSettings]](default_user_databases)

    #: Dotted path of a callable ``request -> user or None``; default: ``request.user``.
    DSUD_USER_RESOLVER = Setting[str | None](lambda: None)

    #: When a user database is made: at "sign_up" (on commit), at "first_use", or both.
    DSUD_PROVISION = Setting[Sequence[str]](lambda: (SIGN_UP, FIRST_USE))

    #: What is done when a database is opened that is not at the schema of the code: it is refused
    #: ("refuse"), brought there ("migrate") or used as it is ("serve").
    DSUD_OUTDATED = Setting[str](lambda: REFUSE)

    #: Whether primary keys of different users never collide; for models with a BigAutoField.
    DSUD_DISTINCT_KEYS = Setting[bool](lambda: False)

    #: How many user databases one process keeps open; default: from the limit of open files.
    DSUD_MAX_OPEN = Setting[int | None](lambda: None)

    #: Dotted path of ``(*, actor, user) -> bool``: who may open whose data in the admin.
    DSUD_SWITCH_PERMISSION = Setting[str](lambda: "dsud.switch.active_superusers")

    #: After how many seconds a switch to another user ends by itself.
    DSUD_SWITCH_AGE = Setting[int](lambda: 3600)

    #: Users whom the test runner enrols with their databases: arguments of ``create_user``.
    USER_SQLITE_DB_MANAGER_TEST_USER_DETAILS = Setting[Sequence[Mapping[str, object]]](list)

    #: Whether somebody stands in where a test has nobody active; see dsud.testing.
    DSUD_TEST_AMBIENT_USER = Setting[bool](lambda: True)

    @classmethod
    def names(cls) -> list[str]:
        """Return the name of every setting."""
        return [name for name, value in vars(cls).items() if isinstance(value, Setting)]


conf = Conf()
