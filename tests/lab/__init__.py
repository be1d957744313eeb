"""A site with users known by a UUID, and with packages that keep rows of their own about its rows."""
