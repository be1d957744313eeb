"""What the example site's templates ask for, where nobody can be switched to."""

from django import template

register = template.Library()


@register.simple_tag
def switch_banner() -> str:
    """Show nothing."""
    return ""
