from django.contrib import admin

from .models import Ingredient, Recipe


class IngredientInline(admin.TabularInline):
    model = Ingredient
    extra = 1


@admin.register(Recipe)
class RecipeAdmin(admin.ModelAdmin):
    list_display = ["title", "minutes"]
    search_fields = ["title"]
    inlines = [IngredientInline]
