"""A backend for the comparison only: ours as it works for a user."""
