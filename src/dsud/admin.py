"""The users table of the admin with its "Switch user" buttons."""

from __future__ import annotations

from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.auth import admin as auth_admin
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dsud import switch
from dsud.exceptions import NoActiveUser

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList
    from django.contrib.auth.models import AbstractBaseUser
    from django.http import HttpRequest, HttpResponse

    # Django's classes take their model in brackets only for type checkers.
    AnyModelAdmin = admin.ModelAdmin[Any]
    StockUserAdmin = auth_admin.UserAdmin[Any]
else:
    AnyModelAdmin = admin.ModelAdmin
    StockUserAdmin = auth_admin.UserAdmin

BUTTON = "switch_user_button"
NO_BUTTON = "–"

# Because Enter in a field of the form presses its first button, which must not switch the user.
NO_DEFAULT = mark_safe('<button type="submit" disabled hidden></button>')


class SwitchUserMixin(AnyModelAdmin):
    """Give the admin of any user model a ``switch_user_button`` for its ``list_display``."""

    @admin.display(description=_("switch user"))
    def switch_user_button(self, user: AbstractBaseUser, request: HttpRequest | None = None) -> str:
        """Return the button that opens the data of this row's user, where the actor may do so."""
        if request is not None and _is_open(request, user=user):
            return gettext("Open now")
        if request is None or not _may_press(request, user=user):
            return NO_BUTTON
        # Not a form of its own, because the table is inside one and browsers drop the inner one.
        return format_html(
            '{}<button type="submit" class="button nowrap" formmethod="post" formnovalidate'
            ' formaction="{}" name="user_id" value="{}">{}</button>',
            NO_DEFAULT if self.list_editable else "",
            reverse("dsud:set_user"),
            _key(user),
            gettext("Switch user"),
        )

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Hand the request to the column, because Django gives a column only the row."""
        changelist = super().get_changelist_instance(request)
        column = partial(self.switch_user_button, request=request)
        update_wrapper(column, self.switch_user_button)
        changelist.list_display = [
            column if name == BUTTON else name for name in changelist.list_display
        ]
        return changelist

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Put the button above the form of a user, in whatever template the project has for it."""
        response = super().change_view(request, object_id, form_url, extra_context)
        # Not a form when it was saved or when an action asks for confirmation.
        if isinstance(response, TemplateResponse) and "adminform" in (response.context_data or {}):
            _put_button_above(response, request=request)
        return response


class UserAdmin(SwitchUserMixin, StockUserAdmin):
    """The users table of ``django.contrib.auth`` with a button to open each user's data."""

    # Beside the name, because the table scrolls sideways when the window is narrow.
    list_display = ("username", BUTTON, "email", "first_name", "last_name", "is_staff")


def _put_button_above(response: TemplateResponse, *, request: HttpRequest) -> None:
    context = cast("dict[str, Any]", response.context_data)
    user = context["original"]
    if _may_press(request, user=user):
        context["dsud_change_form"] = response.resolve_template(response.template_name)
        context["dsud_user_id"] = _key(user)
        response.template_name = "dsud/change_user.html"


def _may_press(request: HttpRequest, *, user: AbstractBaseUser) -> bool:
    if IS_POPUP_VAR in request.GET or not switch.is_set_up() or _is_open(request, user=user):
        return False
    return switch.may_open(request.user, user=user)


def _key(user: AbstractBaseUser) -> str:
    return user._meta.pk.value_to_string(user)


def _is_open(request: HttpRequest, *, user: AbstractBaseUser) -> bool:
    try:
        opened = switch.switched_user(request)
    except NoActiveUser:
        # The banner says why; the table itself is not the user's data and goes on.
        return False
    return opened is not None and opened.pk == user.pk
