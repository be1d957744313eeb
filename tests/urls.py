from django.contrib import admin
from django.urls import include, path

from tests import views

urlpatterns = [
    path("admin/", include("dsud.urls", namespace="dsud")),
    path("admin/", admin.site.urls),
    path("notes/", views.notes),
    path("anotes/", views.anotes),
    path("add/", views.add),
    path("stream/", views.stream),
    path("astream/", views.astream),
    path("login-inside/", views.login_inside),
    path("nothing/", views.nothing),
]
