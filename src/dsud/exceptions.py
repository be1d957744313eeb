"""Every error as one tree; each says what to do next and carries its data as attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.core.exceptions import ImproperlyConfigured, PermissionDenied


class DSUDError(Exception):
    """Raised when dsud cannot do what was asked; the root of the tree."""

    #: The status of the response when a request ends with this error.
    status_code = 500


class NoActiveUser(DSUDError, PermissionDenied):
    """Raised when a user model is used while nobody is active; answered with 403."""

    status_code = 403

    def __init__(self, message: str | None = None) -> None:
        super().__init__(
            message
            or "No user is active, so there is no user database to reach. Log in, or wrap the code"
            " in `with dsud.use_user(user):`."
        )


class WrongUser(DSUDError):
    """Raised when an object, a query or a connection of one user is used as another; answers 500.

    It is a mistake of the code and never the visitor's, so it is not hidden behind a 403.
    """

    # Here and below all arguments are in ``args``, because errors cross process borders by them.
    def __init__(self, owner: str, active: str, what: str) -> None:
        self.owner = owner
        self.active = active
        self.what = what
        super().__init__(owner, active, what)

    def __str__(self) -> str:
        return (
            f"{self.what} of user {self.owner!r} was used while user {self.active!r} is active."
            f" Load it again inside the block of user {self.active!r}, or use it inside"
            f" `with use_user({self.owner!r}):`."
        )


class InvalidUserKey(DSUDError, ValueError):
    """Raised when a value cannot be the primary key of a user with a database."""

    def __init__(self, value: object, reason: str) -> None:
        self.value = value
        self.reason = reason
        super().__init__(value, reason)

    def __str__(self) -> str:
        return f"{self.value!r:.80} cannot name a user database: {self.reason}."


class InvalidEngine(DSUDError, ImproperlyConfigured):
    """Raised when ``USER_DATABASES`` cannot be used as it is written."""


class NotSupportedByEngine(DSUDError):
    """Raised when the engine of ``USER_DATABASES`` cannot do what was asked."""

    def __init__(self, alias: str, feature: str) -> None:
        self.alias = alias
        self.feature = feature
        super().__init__(alias, feature)

    def __str__(self) -> str:
        return (
            f"The engine of USER_DATABASES[{self.alias!r}] cannot {self.feature}."
            " Do without, or choose another engine."
        )


class UserDatabaseError(DSUDError):
    """Raised when one user's database cannot serve; the parent of those that name a user."""

    def __init__(self, user_key: str, message: str, *data: object) -> None:
        self.user_key = user_key
        self.message = message
        super().__init__(user_key, message, *data)

    def __str__(self) -> str:
        return self.message


class UserDatabaseDoesNotExist(UserDatabaseError):
    """Raised when a user has no database and none may be made now."""

    status_code = 503


class UserDatabaseAlreadyExists(UserDatabaseError):
    """Raised when a database is to be made for a user who has one."""


class UserDatabaseUnavailable(UserDatabaseError):
    """Raised when a user's database should be there but is missing, foreign, corrupt or busy."""

    status_code = 503


class UserDatabaseOutdated(UserDatabaseError):
    """Raised when a user's database is behind the code, or so far ahead that the code cannot use it.

    ``pending`` are the migrations and tables that it lacks, ``unknown`` the migrations of newer code.
    """

    status_code = 503

    def __init__(
        self,
        user_key: str,
        message: str,
        pending: Sequence[str] = (),
        unknown: Sequence[str] = (),
    ) -> None:
        self.pending = tuple(pending)
        self.unknown = tuple(unknown)
        super().__init__(user_key, message, self.pending, self.unknown)


class UserDatabaseReadOnly(UserDatabaseError):
    """Raised when something would be written that a user's database only holds a copy of."""


class UserRowsUnavailable(UserDatabaseUnavailable):
    """Raised when a user is to be deleted whose rows cannot be shown to those who listen for them."""


class KeyRangesExhausted(UserDatabaseError):
    """Raised when no range of primary keys is left for another user database."""


class FleetFailed(DSUDError):
    """Raised when some databases of the fleet failed; ``failures`` has each user's cause.

    ``result`` is what came of all others, where they have a result together.
    """

    def __init__(self, failures: Mapping[str, BaseException], result: object = None) -> None:
        self.failures = dict(failures)
        self.result = result
        super().__init__(self.failures, result)

    def __str__(self) -> str:
        lines = "\n".join(f"  {key}: {error}" for key, error in self.failures.items())
        return (
            f"{len(self.failures)} user databases failed, all others are done."
            f" Mend the causes and run it again:\n{lines}"
        )
