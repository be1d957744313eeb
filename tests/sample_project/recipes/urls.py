from django.urls import path

from . import views

app_name = "recipes"
urlpatterns = [
    path("", views.recipe_list, name="list"),
    path("sign-up/", views.sign_up, name="sign_up"),
    path("new/", views.recipe_new, name="new"),
    path("export/", views.recipe_export, name="export"),
    path("<int:pk>/", views.recipe_detail, name="detail"),
    path("<int:pk>/edit/", views.recipe_edit, name="edit"),
    path("<int:pk>/delete/", views.recipe_delete, name="delete"),
    path("<int:pk>/send/", views.recipe_send, name="send"),
]
