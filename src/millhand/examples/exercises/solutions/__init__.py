"""One solution for each exercise; there are others."""

__all__: list[str] = []
