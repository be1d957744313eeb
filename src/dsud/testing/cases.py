"""What a test class may take to itself beside Django's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from django.db import connections
from django.db.models import Model

from dsud.connections import alias_of
from dsud.context import UserId, use_user, user_key
from dsud.testing.clients import AsyncClient, Client
from dsud.testing.factories import create_user, create_users
from dsud.testing.isolation import assert_isolated

if TYPE_CHECKING:
    from django.test import TransactionTestCase as Base
else:
    Base = object


class UserDatabaseTestMixin(Base):
    """Users, and assertions about their databases, for ``TestCase`` and its like.

    Requests of ``self.client`` run outside of any block of the test, so that the middleware finds
    their user.
    """

    client_class = Client
    async_client_class = AsyncClient

    create_user = staticmethod(create_user)
    create_users = staticmethod(create_users)

    def as_user(self, user: Model | UserId) -> use_user:
        """Return a block in which the user is active; the same as ``use_user``."""
        return use_user(user)

    def assertNumUserQueries(  # noqa: N802, because it is named like Django's
        self,
        num: int,
        user: Model | UserId,
        func: Callable[..., object] | None = None,
        *args: object,
        **kwargs: object,
    ) -> AbstractContextManager[object] | None:
        """Assert how many queries reach the database of one user, as ``assertNumQueries`` does."""
        alias = alias_of(user_key(user))
        connections[alias].ensure_connection()  # What opening it takes is not counted.
        return self.assertNumQueries(num, func, *args, using=alias, **kwargs)

    def assertIsolated(  # noqa: N802, because it is named like Django's
        self, model: type[Model], **kwargs: object
    ) -> None:
        """Assert that no user reaches another's rows; see ``assert_isolated``."""
        assert_isolated(model, **kwargs)  # type: ignore[arg-type]
