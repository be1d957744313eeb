"""Every address of the household's site."""

from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("log-in/", LoginView.as_view(), name="log_in"),
    path("diary/", include("diary.urls")),
    path("reading/", include("reading.urls")),
    path("", include("recipes.urls")),
]
