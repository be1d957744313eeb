"""The example's settings with a cheap password hash, because these tests sign up many people."""

from notebook.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
