"""Expenses in the admin, where files of them come in and go out."""

from django.contrib import admin
from import_export.admin import ExportActionMixin, ImportExportModelAdmin
from import_export.fields import Field
from import_export.resources import ModelResource
from import_export.widgets import ForeignKeyWidget

from dsud import current_user_id
from tests.packages.spending.models import Category, Expense


class ExpenseResource(ModelResource):
    category = Field("category", "category", ForeignKeyWidget(Category, "name"))
    owner = Field("owner__username", "owner", readonly=True)

    class Meta:
        model = Expense
        fields = ["id", "owner", "category", "text", "amount"]

    def before_save_instance(self, instance, row, **kwargs):
        instance.owner_id = current_user_id()


@admin.register(Expense)
class ExpenseAdmin(ExportActionMixin, ImportExportModelAdmin):
    resource_classes = [ExpenseResource]
    list_display = ["text", "owner"]


admin.site.register(Category)
