"""The pages of the kitchen: each asks for the rows of whoever is logged in."""

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.core.mail import send_mail
from django.db import transaction
from django.http import StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from .forms import RecipeForm
from .models import Recipe


def sign_up(request):
    form = UserCreationForm(request.POST or None)
    if not form.is_valid():
        return render(request, "registration/sign_up.html", {"form": form})
    with transaction.atomic():
        user = form.save()
        transaction.on_commit(
            lambda: send_mail("Welcome", f"Dear {user}", None, ["kitchen@example.com"])
        )
    login(request, user)
    return redirect("recipes:list")


@login_required
def recipe_list(request):
    recipes = Recipe.objects.filter(owner=request.user).prefetch_related("ingredients")
    if words := request.GET.get("q", ""):
        recipes = recipes.filter(title__icontains=words)
    return render(request, "recipes/recipe_list.html", {"recipes": recipes})


@login_required
def recipe_detail(request, pk):
    recipe = get_object_or_404(Recipe, pk=pk, owner=request.user)
    return render(request, "recipes/recipe_detail.html", {"recipe": recipe})


@login_required
def recipe_new(request):
    return _edit(request, Recipe())


@login_required
def recipe_edit(request, pk):
    return _edit(request, get_object_or_404(Recipe, pk=pk, owner=request.user))


def _edit(request, recipe):
    form = RecipeForm(request.POST or None, instance=recipe, owner=request.user)
    if form.is_valid():
        recipe = form.save()
        messages.success(request, f"“{recipe}” is saved.")
        return redirect(recipe)
    return render(request, "recipes/recipe_form.html", {"form": form})


@login_required
@require_POST
def recipe_delete(request, pk):
    get_object_or_404(Recipe, pk=pk, owner=request.user).delete()
    return redirect("recipes:list")


@login_required
@require_POST
def recipe_send(request, pk):
    """Send a recipe to the household once it is marked as sent."""
    recipe = get_object_or_404(Recipe, pk=pk, owner=request.user)
    with transaction.atomic():
        recipe.labels.add(request.user.labels.get_or_create(name="sent")[0])
        lines = "\n".join(str(ingredient) for ingredient in recipe.ingredients.all())
        transaction.on_commit(lambda: send_mail(recipe.title, lines, None, ["kitchen@example.com"]))
    return redirect(recipe)


@login_required
def recipe_export(request):
    recipes = Recipe.objects.filter(owner=request.user)
    lines = (f"{recipe.title},{recipe.minutes}\n" for recipe in recipes.iterator())
    return StreamingHttpResponse(lines, content_type="text/csv")
