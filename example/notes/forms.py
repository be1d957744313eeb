"""The form that writes a note together with its tags."""

from django import forms

from .models import Note, Tag


class NoteForm(forms.ModelForm):
    tag_names = forms.CharField(
        label="Tags",
        required=False,
        max_length=400,
        help_text="Separated by commas, for example: recipe, winter",
    )

    class Meta:
        model = Note
        fields = ["title", "body"]
        labels = {"body": "Text"}
        widgets = {"body": forms.Textarea(attrs={"rows": 11})}

    def get_initial_for_field(self, field: forms.Field, field_name: str) -> object:
        if field_name == "tag_names" and self.instance.pk:
            return ", ".join(tag.name for tag in self.instance.tags.all())
        return super().get_initial_for_field(field, field_name)

    def clean_tag_names(self) -> list[str]:
        written = self.cleaned_data["tag_names"].lower().split(",")
        names = {" ".join(name.split()) for name in written} - {""}
        longest = Tag._meta.get_field("name").max_length
        if any(len(name) > longest for name in names):
            raise forms.ValidationError(f"A tag has at most {longest} characters.")
        return sorted(names)

    def save(self, commit: bool = True) -> Note:
        note = super().save(commit=commit)
        names = self.cleaned_data["tag_names"]
        note.tags.set([Tag.objects.get_or_create(name=name)[0] for name in names])
        return note
