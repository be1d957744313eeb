"""Consumers of Channels run each message as the user of their connection, looked up again each time."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import cast

from asgiref.sync import sync_to_async
from channels.consumer import AsyncConsumer
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import Model
from django.utils.crypto import constant_time_compare

from dsud.connections import release
from dsud.context import AskedActivation, Block, user_key
from dsud.leases import Force

Scope = MutableMapping[str, object]


class ActiveUserMixin(AsyncConsumer):  # type: ignore[misc]  # Channels has no types.
    """Let a consumer act as ``scope["user"]``: put it before the consumer's class.

    Before each message, those of groups included, the user and the session are looked up again:
    for whoever was deleted, deactivated or logged out, user models raise ``NoActiveUser`` from then
    on, as they do for anonymous visitors and for consumers without a user.
    """

    async def dispatch(self, message: Mapping[str, object]) -> None:
        """Answer a message as the user."""
        activation = await sync_to_async(UserOfScope)(self.scope)
        try:
            with Block(activation, releases=False):
                await super().dispatch(message)
        finally:
            # In the thread that queries run in. Only what is idle, because all consumers share it.
            await sync_to_async(release)(force=Force.NOTHING)


class UserOfScope(AskedActivation):
    """Who is active while a message is answered; a log-in or log-out in between counts."""

    __slots__ = ("_scope", "_seen", "_seen_key")

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self._scope = scope
        self._seen = _logged_in(scope)
        self._seen_key = (
            user_key(self._seen) if self._seen and is_present(self._seen, scope) else None
        )

    def key(self) -> str | None:
        """Return the key of the user, or None."""
        user = _logged_in(self._scope)
        if user is None or user == self._seen:
            return None if user is None else self._seen_key
        return user_key(user)

    glance = key


def _logged_in(scope: Scope) -> Model | None:
    user = scope.get("user")
    return cast("Model", user) if getattr(user, "is_authenticated", False) else None


def is_present(user: Model, scope: Scope) -> bool:
    """Tell whether a user still exists, is as active as before, and still has the session."""
    now = get_user_model()._base_manager.filter(pk=user.pk).first()
    if now is None or (getattr(user, "is_active", True) and not getattr(now, "is_active", True)):
        return False
    session = scope.get("session")
    if session is None or cast("SessionBase", session).get(SESSION_KEY) != _text(user):
        return True  # It was no session that said who this is.
    return _is_valid(cast("SessionBase", session), now)


def _is_valid(session: SessionBase, user: AbstractBaseUser) -> bool:
    """Read the session anew: it ends with a log-out, and with a new password."""
    fresh = session.__class__(session.session_key)
    return fresh.get(SESSION_KEY) == _text(user) and constant_time_compare(
        fresh.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash()
    )


def _text(user: Model) -> str:
    return user._meta.pk.value_to_string(user)
