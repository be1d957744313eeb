"""Log records say whose data the code was working on, and never ask who that is."""

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from dsud import use_user
from dsud.context import Activation, AskedActivation, Block
from dsud.contrib.log import UserKeyFilter
from dsud.threads import as_active_user
from tests.notes.models import Note
from tests.sites import Site

logger = logging.getLogger("tests.contrib.log")


class Lines(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Return the lines that are logged."""
    kept = Lines()
    kept.addFilter(UserKeyFilter())
    kept.setFormatter(logging.Formatter("%(user_key)s %(message)s"))
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    yield kept.lines
    logger.removeHandler(kept)


def test_record__names_the_active_user(lines: list[str], alice: User, bob: User) -> None:
    logger.info("before")
    with use_user(alice):
        logger.info("inside")
        with use_user(bob):
            logger.info("deeper")
        logger.info("inside again")
    logger.info("after")

    assert lines == [
        "- before",
        f"{alice.pk} inside",
        f"{bob.pk} deeper",
        f"{alice.pk} inside again",
        "- after",
    ]


def view(request: HttpRequest) -> HttpResponse:
    logger.info("before the first query")
    if "write" in request.GET:
        Note.objects.create(text="hers")
    logger.info("afterwards")
    return HttpResponse()


urlpatterns = [path("", view)]


def test_request__is_named_once_its_user_is_known(lines: list[str], alice: User, settings) -> None:
    settings.ROOT_URLCONF = __name__
    browser = Client()
    browser.force_login(alice)

    browser.get("/?write")

    assert lines == ["- before the first query", f"{alice.pk} afterwards"]


def test_request__is_not_resolved_by_logging(
    lines: list[str], alice: User, settings, django_assert_num_queries
) -> None:
    settings.ROOT_URLCONF = __name__
    browser = Client()
    browser.force_login(alice)

    with django_assert_num_queries(0):
        browser.get("/")

    assert lines == ["- before the first query", "- afterwards"]


def test_lookup__is_never_called(lines: list[str]) -> None:
    class Asked(AskedActivation):
        def key(self) -> str:
            raise AssertionError

    with Block(Asked()):
        logger.info("quietly")

    assert lines == ["- quietly"]


def test_thread__is_named(lines: list[str], alice: User) -> None:
    with use_user(alice):
        function = as_active_user(logger.info)
    function("in a thread")

    assert lines == [f"{alice.pk} in a thread"]


def test_key__cannot_forge_a_line(lines: list[str]) -> None:
    with Block(Activation(key="7\n8 forged")):
        logger.info("one line")

    assert lines == [r"'7\n8 forged' one line"]


def test_filter__can_be_named_in_settings_which_are_read_before_apps_are(site: Site) -> None:
    code = """
import django
from django.conf import settings
settings.LOGGING = {
    "version": 1,
    "filters": {"user_key": {"()": "dsud.contrib.log.UserKeyFilter"}},
    "formatters": {"line": {"format": "%(user_key)s %(message)s"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "filters": ["user_key"],
            "formatter": "line",
        }
    },
    "root": {"handlers": ["console"]},
}
django.setup()
import logging
from dsud import use_user
with use_user(7):
    logging.warning("inside")
"""
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env=site.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (finished.stdout, finished.stderr) == ("7 inside\n", "")
