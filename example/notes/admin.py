"""Notes, tags and the user table with its "Switch user" button in Django's admin."""

from django.contrib import admin
from django.contrib.auth.models import User

import dsud.admin

from .models import Note, Tag

admin.site.unregister(User)


@admin.register(User)
class UserAdmin(dsud.admin.UserAdmin):
    pass


@admin.register(Note)
class NoteAdmin(admin.ModelAdmin):
    list_display = ["title", "created", "updated"]
    list_filter = ["tags"]
    search_fields = ["title", "body"]
    filter_horizontal = ["tags"]


@admin.register(Tag)
class TagAdmin(admin.ModelAdmin):
    search_fields = ["name"]
