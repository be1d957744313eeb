"""The addresses of switching, to be included under ``admin/`` before ``admin.site.urls``."""

from django.urls import path

from dsud import switch

app_name = "dsud"

# Not under "dsud/", because that is where the admin shows the registry.
urlpatterns = [
    path("switch-user/", switch.set_user, name="set_user"),
    path("switch-user/end/", switch.unset_user, name="unset_user"),
    path("switch-user/choose/", switch.choose_user, name="choose_user"),
]
