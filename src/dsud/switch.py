"""Acting as another user: who may, for how long, where it is remembered, the POST views."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING, TypedDict, cast

from django.apps import apps
from django.contrib.auth import REDIRECT_FIELD_NAME, get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.middleware.csrf import rotate_token
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.module_loading import import_string
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST, require_safe

from dsud.audit import End, Reason, record_end, record_end_of_refused_request, record_start
from dsud.chooser import ask, is_autocomplete, site_of_user_model
from dsud.conf import conf
from dsud.exceptions import NoActiveUser

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

SESSION_KEY = "_dsud_switch"
# What a request remembers about its own switch: the verdict on its state, or why it was lost.
KNOWN = "_dsud_switch_known"
LOST = "_dsud_switch_lost"

EXPLANATIONS = {
    Reason.EXPIRED: "the time for it is over",
    Reason.FORBIDDEN: "you may no longer open it",
    Reason.INACTIVE: "that user has been deactivated",
    Reason.DELETED: "that user has been deleted",
}


class State(TypedDict):
    """What the session remembers: two primary keys as text, and seconds since the epoch."""

    actor: str
    user: str
    since: float


def active_superusers(*, actor: AbstractBaseUser, user: AbstractBaseUser) -> bool:
    """Let active superusers open the data of active users; the default of the setting."""
    return bool(actor.is_active and getattr(actor, "is_superuser", False) and user.is_active)


def may_open(actor: AbstractBaseUser | AnonymousUser, *, user: AbstractBaseUser) -> bool:
    """Tell whether ``actor`` may open the data of ``user`` at this moment."""
    if not (actor.is_active and user.is_active):
        return False
    if actor.pk == user.pk and getattr(actor, "is_staff", False):
        return True
    permission = import_string(conf.DSUD_SWITCH_PERMISSION)
    # `is True`, because a coroutine or a method that somebody forgot to call is truthy too.
    return permission(actor=actor, user=user) is True


def switched_user(request: HttpRequest) -> AbstractBaseUser | None:
    """Return the user whose data the actor of this request has opened, or None.

    Raises ``NoActiveUser`` in the request that finds out that the switch ended by itself, because
    that request was meant for the other user's data; the next one is normal.
    """
    if (message := request.__dict__.get(LOST)) is not None:
        raise NoActiveUser(message)
    state = _state(request)
    if state is None or not _is_actor(request, state=state):
        return None
    known: tuple[State, AbstractBaseUser] | None = request.__dict__.get(KNOWN)
    if known is None or known[0] != state:
        known = request.__dict__[KNOWN] = (state, _judge(request, state=state))
    return known[1]


def is_open(request: HttpRequest) -> bool:
    """Tell whether somebody is switched to, or was until this request; they may not be any more."""
    return LOST in request.__dict__ or _state(request) is not None


def known_user(request: HttpRequest) -> AbstractBaseUser | None:
    """Return what ``switched_user`` found last if nothing has changed since; asks nobody."""
    known: tuple[State, AbstractBaseUser] | None = request.__dict__.get(KNOWN)
    if known is None or LOST in request.__dict__:
        return None
    state = _state(request)
    unchanged = state is not None and state == known[0] and _is_actor(request, state=state)
    return known[1] if unchanged else None


def start(request: HttpRequest, *, user: AbstractBaseUser) -> None:
    """Open the data of ``user`` for the actor of this request, and record it.

    Raises ``PermissionDenied`` when the actor may not.
    """
    if not may_open(request.user, user=user):
        raise PermissionDenied("You may not open the data of this user.")
    stop(request, reason=Reason.REPLACED)
    # Recorded first, because nobody's data may be opened without a record of it.
    actor = cast("AbstractBaseUser", request.user)
    record_start(request, actor=actor, user=user)
    request.session[SESSION_KEY] = State(actor=_key(actor), user=_key(user), since=time())
    request.__dict__.pop(LOST, None)
    _invalidate_open_forms(request)


def stop(request: HttpRequest, *, reason: Reason = Reason.ASKED) -> None:
    """Close the data that was opened in this session, if any, and record why."""
    if (state := _state(request)) is not None:
        user = _find_user(state["user"])
        record_end(request, end=_close(request, state=state, user=user, reason=reason))


def connect() -> None:
    """Listen to log-ins and log-outs; called once when Django starts."""
    user_logged_out.connect(_end_at_log_out, dispatch_uid="dsud.switch")
    user_logged_in.connect(_end_at_log_in, dispatch_uid="dsud.switch")


def is_set_up() -> bool:
    """Tell whether the project has included ``dsud.urls``."""
    try:
        reverse("dsud:set_user")
    except NoReverseMatch:
        return False
    return True


def default_target() -> str:
    """Return where to go when the form does not say: the index of the admin, or the root."""
    try:
        return reverse("admin:index")
    except NoReverseMatch:
        return get_script_prefix()


@require_POST
@csrf_protect
@never_cache
def set_user(request: HttpRequest) -> HttpResponse:
    """Open the data of the user whose key is ``user_id``, then go to ``next``."""
    user = _find_user(request.POST.get("user_id", ""))
    if user is None:
        # In the words of a refusal, because nobody may find out here which keys exist.
        raise PermissionDenied("You may not open the data of this user.")
    start(request, user=user)
    return _redirect(request)


@require_POST
@csrf_protect
@never_cache
def unset_user(request: HttpRequest) -> HttpResponse:
    """Close the data that was opened, then go to ``next``."""
    stop(request)
    return _redirect(request)


@require_safe
def choose_user(request: HttpRequest) -> HttpResponse:
    """Ask everybody who may enter the admin whose data to open before going to ``next``."""
    if not apps.is_installed("django.contrib.admin"):
        raise Http404("Choosing a user needs django.contrib.admin.")
    from django.contrib.admin.sites import all_sites, site
    from django.contrib.auth.views import redirect_to_login

    for entered in (site, *all_sites):
        if entered.has_permission(request):
            target = _safe_url(request, url=request.GET.get(REDIRECT_FIELD_NAME, ""))
            search = request.GET.get("q", "")
            return ask(request, site=entered, next_url=target, may_open=may_open, search=search)
    return redirect_to_login(request.get_full_path(), reverse("admin:login"))


def choose_response(request: HttpRequest, view_func: Callable[..., object]) -> HttpResponse | None:
    """Ask whose data to open when an admin page of a user model is wanted and nobody's is open.

    Returns None when the view may go on: somebody's data is open, the page is not one of a user
    model, or whoever asks is not let into the admin, which then says so itself.
    """
    site = site_of_user_model(request, view=view_func)
    if site is None or not is_set_up() or not site.has_permission(request):
        return None
    try:
        if switched_user(request) is not None:
            return None
        notice = _why_nothing_was_done(request)
    except NoActiveUser as lost:
        notice = str(lost)
    target = request.get_full_path()
    status = 403 if notice else 200
    return ask(request, site=site, next_url=target, may_open=may_open, notice=notice, status=status)


def _why_nothing_was_done(request: HttpRequest) -> str:
    if request.method in ("GET", "HEAD") and not is_autocomplete(request):
        return ""
    return gettext("Nothing was done, because nobody's data is open: choose whose, and try again.")


def _state(request: HttpRequest) -> State | None:
    session = getattr(request, "session", None)
    return None if session is None else session.get(SESSION_KEY)


def _is_actor(request: HttpRequest, *, state: State) -> bool:
    user: AbstractBaseUser | AnonymousUser | None = getattr(request, "user", None)
    return user is not None and user.is_authenticated and _key(user) == state["actor"]


def _judge(request: HttpRequest, *, state: State) -> AbstractBaseUser:
    user = _find_user(state["user"])
    reason = _reason_to_end(request.user, state=state, user=user)
    if user is not None and reason is None:
        return user
    reason = reason or Reason.DELETED
    end = _close(request, state=state, user=user, reason=reason)
    record_end_of_refused_request(request, end=end)
    message = f"You no longer see another user's data: {EXPLANATIONS[reason]}."
    # Kept for the rest of this request, because it must not go on in the actor's own database.
    request.__dict__[LOST] = message
    raise NoActiveUser(message)


def _reason_to_end(
    actor: AbstractBaseUser | AnonymousUser, *, state: State, user: AbstractBaseUser | None
) -> Reason | None:
    if user is None:
        return Reason.DELETED
    if not user.is_active:
        return Reason.INACTIVE
    # One's own data stays open, because closing it would protect nobody.
    if state["user"] != state["actor"] and time() - state["since"] > conf.DSUD_SWITCH_AGE:
        return Reason.EXPIRED
    return None if may_open(actor, user=user) else Reason.FORBIDDEN


def _close(
    request: HttpRequest, *, state: State, user: AbstractBaseUser | None, reason: Reason
) -> End:
    request.session.pop(SESSION_KEY, None)
    _invalidate_open_forms(request)
    actor = request.user if _is_actor(request, state=state) else _find_user(state["actor"])
    return End(cast("AbstractBaseUser | None", actor), user, state["user"], reason)


def _invalidate_open_forms(request: HttpRequest) -> None:
    # Because a form in another window shows the rows of whoever was open before: sent now, it
    # would change the row that has the same primary key in another user's database.
    rotate_token(request)


def _end_at_log_out(request: HttpRequest, **kwargs: object) -> None:
    stop(request, reason=Reason.LOG_OUT)


def _end_at_log_in(request: HttpRequest, user: AbstractBaseUser, **kwargs: object) -> None:
    # Because a project's own way to log in may keep the session of whoever was here before.
    state = _state(request)
    if state is not None and _key(user) != state["actor"]:
        stop(request, reason=Reason.LOG_IN)


def _find_user(user_id: str) -> AbstractBaseUser | None:
    model = get_user_model()
    try:
        return model._default_manager.get(pk=model._meta.pk.to_python(user_id))
    except (model.DoesNotExist, ValidationError, ValueError):
        return None


def _key(user: AbstractBaseUser) -> str:
    return user._meta.pk.value_to_string(user)


def _safe_url(request: HttpRequest, *, url: str) -> str:
    allowed = url_has_allowed_host_and_scheme(
        url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return url if allowed else default_target()


def _redirect(request: HttpRequest) -> HttpResponse:
    url = request.POST.get(REDIRECT_FIELD_NAME, "")
    return HttpResponseRedirect(_safe_url(request, url=url))
