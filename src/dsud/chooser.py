"""The admin page that asks whose data to open, and which admin pages need the answer."""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from itertools import islice
from types import FunctionType
from typing import TYPE_CHECKING, Protocol, TypedDict, cast

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect

from dsud.router import is_user_model

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.contrib.auth.models import AbstractBaseUser
    from django.db.models import Model
    from django.urls import ResolverMatch

USERS_LISTED = 50
# Because a permission that refuses nearly everybody must not make a page read the whole table.
USERS_CONSIDERED = 500


class Permission(Protocol):
    """Whether an actor may open the data of a user."""

    def __call__(self, actor: AbstractBaseUser, /, *, user: AbstractBaseUser) -> bool: ...


class Choice(TypedDict):
    """One button of the page."""

    user_id: str
    name: str


def is_unmarked(view: Callable[..., object]) -> bool:
    """Tell at a glance whether a view is a function without any mark: one of an admin has some."""
    return type(view) is FunctionType and not view.__dict__


def site_of_user_model(request: HttpRequest, *, view: Callable[..., object]) -> AdminSite | None:
    """Return the admin site that the view belongs to when it is about a user model, else None."""
    owner = _owner(view)
    site = getattr(owner, "admin_site", None) or getattr(view, "admin_site", None)
    if site is None:
        return None
    model = getattr(owner, "model", None) or _model_in_address(request)
    return site if model is not None and is_user_model(model) else None


def is_autocomplete(request: HttpRequest) -> bool:
    """Tell whether a script of the admin asks, which could not show a page to choose from."""
    return _is_admin_view(request, name="autocomplete")


@csrf_protect
@never_cache
def ask(
    request: HttpRequest,
    *,
    site: AdminSite,
    next_url: str,
    may_open: Permission,
    search: str = "",
    notice: str = "",
    status: int = 200,
) -> HttpResponse:
    """Render the page within the admin; each button opens one user's data and then ``next_url``."""
    actor = cast("AbstractBaseUser", request.user)
    context = {
        **site.each_context(request),
        "title": gettext("Whose data do you want to open?"),
        "is_popup": "_popup=" in next_url,
        "next": next_url,
        "notice": notice,
        "search": search,
        "own": _choice(actor) if may_open(actor, user=actor) else None,
        "choices": _choices(actor, search=search, may_open=may_open),
        "limit": USERS_LISTED,
    }
    request.current_app = site.name
    return TemplateResponse(request, "dsud/choose_user.html", context, status=status)


def _owner(view: Callable[..., object]) -> object:
    # Views that a project adds to a ModelAdmin carry no `model_admin`: they are bound to it, under
    # the decorators. Stopped there, because a bound method shows its function's decorators too.
    bound = view
    if hasattr(view, "__wrapped__"):
        bound = unwrap(view, stop=lambda wrapped: hasattr(wrapped, "__self__"))
    return getattr(view, "model_admin", None) or getattr(bound, "__self__", None)


def _model_in_address(request: HttpRequest) -> type[Model] | None:
    try:
        if is_autocomplete(request):
            return _autocompleted_model(request)
        if _is_admin_view(request, name="view_on_site"):
            return _model_on_site(request)
    except (LookupError, FieldDoesNotExist, ObjectDoesNotExist, ValueError):
        # No model at all, which the view itself answers.
        return None
    return None


def _autocompleted_model(request: HttpRequest) -> type[Model] | None:
    model = apps.get_model(request.GET["app_label"], request.GET["model_name"])
    related = model._meta.get_field(request.GET["field_name"]).related_model
    return cast("type[Model] | None", related)


def _model_on_site(request: HttpRequest) -> type[Model] | None:
    from django.contrib.contenttypes.models import ContentType

    match = cast("ResolverMatch", request.resolver_match)
    return ContentType.objects.get_for_id(int(match.kwargs["content_type_id"])).model_class()


def _is_admin_view(request: HttpRequest, *, name: str) -> bool:
    match = request.resolver_match
    return match is not None and match.app_names[-1:] == ["admin"] and match.url_name == name


def _choices(actor: AbstractBaseUser, *, search: str, may_open: Permission) -> list[Choice]:
    model = get_user_model()
    users = model._default_manager.exclude(pk=actor.pk).order_by(model.USERNAME_FIELD)
    if search:
        users = users.filter(**{f"{model.USERNAME_FIELD}__icontains": search.replace("\0", "")})
    considered = users[:USERS_CONSIDERED].iterator()
    allowed = (_choice(user) for user in considered if may_open(actor, user=user))
    return list(islice(allowed, USERS_LISTED))


def _choice(user: AbstractBaseUser) -> Choice:
    return Choice(user_id=user._meta.pk.value_to_string(user), name=user.get_username())
