"""The tenants that django-tenants wants to be told of, one for each user."""
