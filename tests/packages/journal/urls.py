"""Pages that write and delete entries as whoever is logged in."""

from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tests.packages.journal.models import Entry


@csrf_exempt
def write(request):
    entry, _ = Entry.objects.update_or_create(
        pk=request.POST.get("pk"),
        defaults={"text": request.POST["text"]},
        create_defaults={"text": request.POST["text"], "owner": request.user},
    )
    return HttpResponse(str(entry.pk))


@csrf_exempt
def delete(request, pk):
    Entry.objects.get(pk=pk).delete()
    return HttpResponse("gone")


def history(request, pk):
    records = Entry.history.filter(id=pk).order_by("history_id")
    lines = [f"{each.history_type}{each.text} by {each.history_user}" for each in records]
    return HttpResponse("\n".join(lines))


urlpatterns = [
    path("write/", write),
    path("<int:pk>/delete/", delete),
    path("<int:pk>/history/", history),
]
