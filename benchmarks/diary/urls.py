"""Where the notes are, and whose they are."""

from django.urls import path

from benchmarks.diary import views

urlpatterns = [
    path("notes/", views.list_notes),
    path("notes/new/", views.create_note),
    path("account/", views.show_account),
]
