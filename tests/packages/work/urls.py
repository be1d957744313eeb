"""An API and pages of projects and tasks, written as if there were one database."""

import django_filters
from django.urls import include, path
from django_filters.views import FilterView
from rest_framework import serializers, viewsets
from rest_framework.authtoken.views import obtain_auth_token
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter

from tests.packages.work.models import Project, Task


class TaskSerializer(serializers.ModelSerializer):
    class Meta:
        model = Task
        fields = ["id", "project", "title", "slug", "done"]


class ProjectSerializer(serializers.ModelSerializer):
    """A project with the username of its owner, and its tasks below it."""

    owner = serializers.SlugRelatedField(slug_field="username", read_only=True)
    tasks = TaskSerializer(many=True, read_only=True)
    task_ids = serializers.PrimaryKeyRelatedField(
        many=True, queryset=Task.objects.all(), source="tasks", required=False
    )

    class Meta:
        model = Project
        fields = ["id", "name", "owner", "tasks", "task_ids"]


class TaskFilter(django_filters.FilterSet):
    """Choices of user rows, a join to the user, and a text."""

    project = django_filters.ModelChoiceFilter(queryset=Project.objects.all())
    projects = django_filters.ModelMultipleChoiceFilter(
        field_name="project", queryset=Project.objects.all()
    )
    title = django_filters.CharFilter(lookup_expr="icontains")
    owner = django_filters.CharFilter(field_name="project__owner__username")

    class Meta:
        model = Task
        fields = ["project", "projects", "title", "owner", "done"]


class ProjectViewSet(viewsets.ModelViewSet):
    queryset = Project.objects.select_related("owner").prefetch_related("tasks")
    serializer_class = ProjectSerializer
    filterset_fields = ["name", "owner__username"]
    search_fields = ["name", "owner__username"]
    ordering_fields = ["name"]

    def perform_create(self, serializer):
        serializer.save(owner=self.request.user)


class TaskViewSet(viewsets.ModelViewSet):
    queryset = Task.objects.all()
    serializer_class = TaskSerializer
    filterset_class = TaskFilter

    @action(detail=False, methods=["post"])
    def finish(self, request):
        return Response({"finished": self.filter_queryset(self.queryset).update(done=True)})


class TaskPage(FilterView):
    filterset_class = TaskFilter
    template_name = "tasks.html"


router = DefaultRouter()
router.register("projects", ProjectViewSet)
router.register("tasks", TaskViewSet)
urlpatterns = [
    path("token/", obtain_auth_token),
    path("page/", TaskPage.as_view()),
    path("", include(router.urls)),
]
