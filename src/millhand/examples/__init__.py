"""Programs to learn from and to try things with."""

__all__: list[str] = []
