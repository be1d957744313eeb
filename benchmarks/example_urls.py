"""The addresses of the example site, without those of dsud."""

from django.urls import URLResolver

from notebook.urls import urlpatterns as with_dsud

urlpatterns = [
    each for each in with_dsud if not isinstance(each, URLResolver) or each.namespace != "dsud"
]
