"""Django REST framework and django-filter: an API with tokens."""
