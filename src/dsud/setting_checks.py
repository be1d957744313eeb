"""What can be wrong with the settings of dsud that are no part of an engine: misspelt, or with an unknown value."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from dsud.conf import FIRST_USE, MIGRATE, REFUSE, SERVE, SIGN_UP, conf
from dsud.connections import ALIAS_PREFIX
from dsud.router import TEMPLATE_ALIAS


def check_settings(**kwargs: object) -> Iterator[CheckMessage]:
    """Look for settings that are misspelt or cannot be used."""
    known = conf.names()
    for name in dir(settings):
        if name.startswith("DSUD_") and name not in known:
            yield Error(f"There is no setting {name}.", hint=_suggest_setting(name), id="dsud.E012")
    if unknown := set(conf.DSUD_PROVISION) - {SIGN_UP, FIRST_USE}:
        yield Error(
            f"DSUD_PROVISION has {sorted(unknown)}.",
            hint=f'Set DSUD_PROVISION = ["{SIGN_UP}", "{FIRST_USE}"], or one of them, or none.',
            id="dsud.E014",
        )
    if conf.DSUD_OUTDATED not in (REFUSE, MIGRATE, SERVE):
        yield Error(
            f"DSUD_OUTDATED is {conf.DSUD_OUTDATED!r}.",
            hint=f'Set DSUD_OUTDATED = "{REFUSE}", "{MIGRATE}" or "{SERVE}".',
            id="dsud.E023",
        )
    yield from _check_callables()
    for alias in settings.DATABASES:
        if alias.startswith((ALIAS_PREFIX, TEMPLATE_ALIAS)):
            yield Error(
                f"DATABASES has the alias {alias!r}, and aliases that begin so belong to users.",
                hint=f"Rename DATABASES[{alias!r}].",
                id="dsud.E015",
            )


def _suggest_setting(name: str) -> str:
    close = difflib.get_close_matches(name, conf.names(), n=1)
    return f"Did you mean {close[0]}?" if close else "Remove it."


def _check_callables() -> Iterator[CheckMessage]:
    for name in ("DSUD_USER_RESOLVER", "DSUD_SWITCH_PERMISSION"):
        path = getattr(conf, name)
        if path is None:
            continue
        try:
            usable = callable(import_string(path))
        except ImportError:
            usable = False
        if not usable:
            yield Error(
                f"{name} is {path!r}, which cannot be imported or called.",
                hint=f'Set {name} = "package.module.function".',
                id="dsud.E016",
            )
