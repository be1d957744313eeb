from django.urls import path

from . import views

app_name = "diary"
urlpatterns = [
    path("", views.entries, name="entries"),
    path("write/", views.write, name="write"),
    path("topics/", views.topics, name="topics"),
    path("remarks/", views.remarks, name="remarks"),
    path("<int:pk>/remark/", views.remark, name="remark"),
    path("<int:pk>/rename/", views.rename, name="rename"),
]
