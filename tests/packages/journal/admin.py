"""The journal in the admin, with the pages of its history."""

from django.contrib import admin
from simple_history.admin import SimpleHistoryAdmin

from tests.packages.journal.models import Entry


@admin.register(Entry)
class EntryAdmin(SimpleHistoryAdmin):
    list_display = ["text", "owner"]
