"""An existing site split into user databases, and merged back."""
