from django.urls import path

from . import views

app_name = "reading"
urlpatterns = [
    path("", views.shelf, name="shelf"),
    path("<int:pk>/turn/", views.turn, name="turn"),
]
