"""The example's settings as in production, with a cheap password hash because tests sign up many."""

from notebook.settings import *  # noqa: F403

DEBUG = False
LOGGING = {  # because without DEBUG, Django says nothing about a failed request on the console
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler", "level": "WARNING"}},
    "root": {"handlers": ["console"]},
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
