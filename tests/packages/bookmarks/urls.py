"""Pages that list bookmarks by tag, with taggit's view and with a form."""

from django.urls import path
from django.views.generic import CreateView, ListView
from taggit.views import TagListMixin

from tests.packages.bookmarks.models import Bookmark


class Tagged(TagListMixin, ListView):
    """taggit's list, with a queryset that is made when nobody is active."""

    queryset = Bookmark.objects.select_related("owner").order_by("pk")
    template_name = "bookmarks.html"


class Add(CreateView):
    model = Bookmark
    fields = ["title", "tags"]
    template_name = "form.html"
    success_url = "/bookmarks/add/"

    def form_valid(self, form):
        form.instance.owner = self.request.user
        return super().form_valid(form)


urlpatterns = [
    path("add/", Add.as_view()),
    path("<str:slug>/", Tagged.as_view()),
]
