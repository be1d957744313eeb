"""No addresses."""

urlpatterns: list[object] = []
