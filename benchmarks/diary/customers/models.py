"""Schemas, and the host names by which they are chosen, as django-tenants' documentation writes them."""

from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):
    """The schema of a user."""

    auto_create_schema = True


class Domain(DomainMixin):
    """A host name of a user's."""
