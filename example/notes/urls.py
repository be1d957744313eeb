"""The addresses of the notes."""

from django.urls import path

from . import views

app_name = "notes"

urlpatterns = [
    path("", views.NoteList.as_view(), name="list"),
    path("notes/new/", views.NoteCreate.as_view(), name="create"),
    path("notes/<int:pk>/", views.NoteDetail.as_view(), name="detail"),
    path("notes/<int:pk>/edit/", views.NoteEdit.as_view(), name="edit"),
    path("notes/<int:pk>/delete/", views.NoteDelete.as_view(), name="delete"),
]
