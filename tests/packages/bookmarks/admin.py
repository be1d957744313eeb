"""Bookmarks in the admin; taggit brings the pages of its tags."""

from django.contrib import admin

from tests.packages.bookmarks.models import Bookmark


@admin.register(Bookmark)
class BookmarkAdmin(admin.ModelAdmin):
    list_display = ["title", "owner"]
    list_filter = ["tags", "owner__username"]
    list_select_related = ["owner"]
    search_fields = ["title", "tags__name", "owner__username"]
