"""The pages of the Notes application: stock generic views over plain models."""

from django.contrib.auth import login
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.messages.views import SuccessMessageMixin
from django.db.models import Count, Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.views.generic import CreateView, DeleteView, DetailView, ListView, UpdateView

from .forms import NoteForm
from .models import Note, Tag


class NoteList(LoginRequiredMixin, ListView):
    queryset = Note.objects.prefetch_related("tags")
    paginate_by = 12

    def get_queryset(self) -> QuerySet[Note]:
        notes = super().get_queryset()
        if words := self.request.GET.get("q", "").strip()[:100]:
            notes = notes.filter(Q(title__icontains=words) | Q(body__icontains=words))
        if tag := self.request.GET.get("tag"):
            notes = notes.filter(tags__name=tag)
        return notes

    def get_context_data(self, **kwargs: object) -> dict[str, object]:
        tags = Tag.objects.annotate(uses=Count("notes")).filter(uses__gt=0).order_by("name")
        return super().get_context_data(tags=tags, **kwargs)


class NoteDetail(LoginRequiredMixin, DetailView):
    model = Note


class NoteCreate(LoginRequiredMixin, SuccessMessageMixin, CreateView):
    model = Note
    form_class = NoteForm
    success_message = "“%(title)s” is saved."


class NoteEdit(LoginRequiredMixin, SuccessMessageMixin, UpdateView):
    model = Note
    form_class = NoteForm
    success_message = "“%(title)s” is saved."


class NoteDelete(LoginRequiredMixin, SuccessMessageMixin, DeleteView):
    model = Note
    success_url = reverse_lazy("notes:list")
    success_message = "The note is deleted."


class SignUp(CreateView):
    form_class = UserCreationForm
    template_name = "registration/sign_up.html"

    def form_valid(self, form: UserCreationForm) -> HttpResponse:
        login(self.request, form.save())
        return redirect("notes:list")
