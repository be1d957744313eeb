"""Trees of treebeard in its own admin."""

from django.contrib import admin
from treebeard.admin import TreeAdmin
from treebeard.forms import movenodeform_factory

from tests.packages.outline.models import Branch, Period, Section

for model in (Section, Period, Branch):
    admin.site.register(model, TreeAdmin, form=movenodeform_factory(model))
