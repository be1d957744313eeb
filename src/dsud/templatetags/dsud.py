"""Template tags: the banner that says whose data is seen."""

from __future__ import annotations

from django import template
from django.http import HttpRequest
from django.template.context import Context

from dsud import switch
from dsud.exceptions import NoActiveUser

register = template.Library()


@register.inclusion_tag("dsud/banner.html", takes_context=True)
def switch_banner(context: Context) -> dict[str, object]:
    """Say whose data is seen, with a button to go back; nothing when nobody's is open.

    Works in every template of the project that is rendered with a request.
    """
    request = context.get("request") or getattr(context, "request", None)
    if not isinstance(request, HttpRequest):
        return {}
    try:
        user = switch.switched_user(request)
    except NoActiveUser as lost:
        return {"lost": str(lost)}
    return {} if user is None else {"opened": user, "actor": request.user}
