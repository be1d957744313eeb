from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

from recipes.models import Recipe


class Command(BaseCommand):
    help = "Prints what can be cooked in half an hour."

    def add_arguments(self, parser):
        parser.add_argument("username", nargs="?", help="Whose recipes; without it everybody's.")

    def handle(self, *, username, **options):
        users = get_user_model().objects.order_by("username")
        if username is not None:
            user = users.get(username=username)
            for recipe in Recipe.objects.filter(owner=user, minutes__lte=30):
                self.stdout.write(recipe.title)
            return
        for user in users:
            for recipe in user.recipes.filter(minutes__lte=30):
                self.stdout.write(f"{user}: {recipe.title}")
