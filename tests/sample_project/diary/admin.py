from django.contrib import admin
from django.contrib.contenttypes.admin import GenericTabularInline

from .models import Entry, Remark, Topic


class RemarkInline(GenericTabularInline):
    model = Remark
    extra = 0


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin):
    list_display = ["title", "owner"]
    list_filter = ["owner__username", "topics"]
    list_select_related = ["owner"]
    search_fields = ["title", "owner__username", "remarks__text"]
    inlines = [RemarkInline]


admin.site.register(Topic)
