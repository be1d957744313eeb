"""Addresses of the site that the bridges are tested with."""

urlpatterns: list[object] = []
