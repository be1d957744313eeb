"""The names an application imports every day."""

from dsud.context import current_user_id, use_user
from dsud.router import shared_model, user_model

__all__ = ["current_user_id", "shared_model", "use_user", "user_model"]
