from django.contrib import admin

from tests.notes.models import Note, Tag

admin.site.register([Note, Tag])
