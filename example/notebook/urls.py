"""The addresses of the Notes example."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from notes.views import SignUp

urlpatterns = [
    path("", include("notes.urls")),
    path("sign-up/", SignUp.as_view(), name="sign_up"),
    path("log-in/", LoginView.as_view(redirect_authenticated_user=True), name="log_in"),
    path("log-out/", LogoutView.as_view(), name="log_out"),
    path("admin/", include("dsud.urls", namespace="dsud")),
    path("admin/", admin.site.urls),
]
