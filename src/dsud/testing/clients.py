"""Test clients whose requests run as in production: as their own user, whoever the test is."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from django.test import client

from dsud.context import outside


class Client(client.Client):
    """Django's test client, outside of the block in which the test itself is.

    So it is the middleware that finds the user of each request, and a view that forgets to need
    one is found out.
    """

    def request(self, **request: object) -> HttpResponseBase:  # type: ignore[override]
        """Send a request with nobody active before the middleware."""
        with outside():
            return super().request(**request)


class AsyncClient(client.AsyncClient):
    """Django's asynchronous test client, outside of the block in which the test itself is."""

    async def request(self, **request: object) -> HttpResponseBase:  # type: ignore[override]
        """Send a request with nobody active before the middleware."""
        with outside():
            return await super().request(**request)
