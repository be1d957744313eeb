"""Addresses of an API in which Django REST framework finds out who asks."""

from rest_framework.authentication import TokenAuthentication
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.routers import SimpleRouter
from rest_framework.serializers import ModelSerializer
from rest_framework.viewsets import ModelViewSet

from tests.notes.models import Note


class NoteSerializer(ModelSerializer):
    """A note as JSON."""

    class Meta:
        model = Note
        fields = ("id", "text")


class NoteViewSet(ModelViewSet):
    """Notes, with a queryset that is made when nobody is active."""

    queryset = Note.objects.order_by("pk")
    serializer_class = NoteSerializer
    authentication_classes = (TokenAuthentication,)
    permission_classes = (IsAuthenticated,)


class OpenNoteViewSet(NoteViewSet):
    """The same for everybody, by mistake."""

    permission_classes = (AllowAny,)


router = SimpleRouter()
router.register("notes", NoteViewSet)
router.register("open", OpenNoteViewSet, basename="open")
urlpatterns = router.urls
