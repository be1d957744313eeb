from django import forms

from .models import Recipe


class RecipeForm(forms.ModelForm):
    class Meta:
        model = Recipe
        fields = ["title", "minutes", "labels"]

    def __init__(self, *args, owner, **kwargs):
        super().__init__(*args, **kwargs)
        self.instance.owner = owner
        self.fields["labels"].queryset = owner.labels.all()

    def clean_minutes(self):
        minutes = self.cleaned_data["minutes"]
        if minutes > 600:
            raise forms.ValidationError("Nobody waits that long.")
        return minutes
