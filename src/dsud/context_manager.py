"""The alias that the guide promises for ``dsud.use_user``."""

from dsud.context import use_user as set_user_in_middleware

__all__ = ["set_user_in_middleware"]
