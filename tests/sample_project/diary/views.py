"""Pages of a diary, which nobody reads but its owner."""

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.db.models import Count, F, Q
from django.http import JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST

from .models import Entry, Remark, Topic, Version


def as_json(entry):
    return {
        "title": entry.title,
        "owner": entry.owner.username,
        "topics": [topic.name for topic in entry.topics.all()],
        "remarks": [f"{remark.text} ({remark.author.username})" for remark in entry.remarks.all()],
    }


@login_required
def entries(request):
    found = Entry.objects.filter(owner__username=request.user.username)
    if words := request.GET.get("q"):
        found = found.filter(
            Q(title__icontains=words)
            | Q(remarks__text__icontains=words)
            | Q(topics__name__icontains=words)
        ).distinct()
    found = found.select_related("owner").prefetch_related("topics", "remarks__author")
    return JsonResponse({"entries": [as_json(entry) for entry in found]})


@require_POST
@login_required
@transaction.atomic
def write(request):
    entry = Entry(owner=request.user, title=request.POST["title"])
    entry.changed_by = request.user
    entry.save()
    for name in request.POST.getlist("topics"):
        topic, _ = Topic.objects.get_or_create(owner=request.user, name=name)
        entry.topics.add(topic)
    return JsonResponse({"pk": entry.pk})


@require_POST
@login_required
def remark(request, pk):
    entry = get_object_or_404(Entry, pk=pk, owner=request.user)
    entry.remarks.create(author=request.user, text=request.POST["text"])
    return JsonResponse({"remarks": entry.remarks.count()})


@require_POST
@login_required
def rename(request, pk):
    entry = get_object_or_404(Entry, pk=pk, owner=request.user)
    entry.title, entry.changed_by = request.POST["title"], request.user
    entry.save()
    versions = Version.objects.filter(entry_key=pk).select_related("changed_by")
    return JsonResponse({"versions": [f"{each} ({each.changed_by})" for each in versions]})


@login_required
def topics(request):
    found = (
        Topic.objects.filter(owner=request.user)
        .annotate(number=Count("entries"), by=F("owner__username"))
        .values_list("name", "number", "by")
    )
    return JsonResponse({"topics": list(found)})


@login_required
def remarks(request):
    """List remarks on everything, each with what it is on."""
    found = Remark.objects.filter(author=request.user).select_related("content_type", "author")
    found = found.prefetch_related("target")
    lines = [f"{each.content_type.model} {each.target}: {each.text}" for each in found]
    return JsonResponse({"remarks": lines})
