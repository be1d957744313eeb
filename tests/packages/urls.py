"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", include("dsud.urls", namespace="dsud")),
    path("admin/", admin.site.urls),
    path("api/", include("tests.packages.work.urls")),
    path("journal/", include("tests.packages.journal.urls")),
    path("bookmarks/", include("tests.packages.bookmarks.urls")),
]
