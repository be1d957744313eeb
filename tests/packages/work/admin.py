"""The work in the admin; the tokens are REST framework's own page."""

from django.contrib import admin

from tests.packages.work.models import Project, Task

admin.site.register([Project, Task])
