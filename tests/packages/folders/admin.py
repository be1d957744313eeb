"""Folders in mptt's admin."""

from django.contrib import admin
from mptt.admin import DraggableMPTTAdmin

from tests.packages.folders.models import Folder

admin.site.register(Folder, DraggableMPTTAdmin)
