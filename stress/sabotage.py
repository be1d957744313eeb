"""One protection taken away, to prove that a run without it finds leaks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from dsud import context, guards, router

PROTECTIONS = ("router", "guards", "cursor", "context")


def disable(name: str) -> None:
    """Disable a protection in this process; called before Django is set up."""
    _DISABLE[name]()


def _without_router() -> None:
    """Send every user model to the active user, whoever an object belongs to."""

    def database_for(model: type, instance: object, *, reads: bool) -> str | None:
        return context.active_alias() if router.is_user_model(model) else None

    router._database_for = database_for


def _without_guards() -> None:
    """Leave objects, querysets and values as Django has them."""
    guards.install = lambda: None


def _without_cursor() -> None:
    """Let everybody reach every connection."""
    guards.refuse_cursor = lambda owner: None


def _without_context() -> None:
    """Remember who is active for the whole process and not for each context."""
    active = SimpleNamespace(now=None)
    context._active = SimpleNamespace(
        get=lambda: active.now, set=lambda entry: setattr(active, "now", entry)
    )


_DISABLE: dict[str, Callable[[], None]] = {
    "router": _without_router,
    "guards": _without_guards,
    "cursor": _without_cursor,
    "context": _without_context,
}
