"""The addresses of the site under stress."""

from django.contrib import admin
from django.urls import include, path

from stress import views

urlpatterns = [
    path("admin/", include("dsud.urls", namespace="dsud")),
    path("admin/", admin.site.urls),
    path("mixed/", views.work),
    path("amixed/", views.awork),
    path("stream/", views.stream),
    path("astream/", views.astream),
    path("log-in/", views.log_in),
]
