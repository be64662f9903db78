"""The first steps with a pool: one idea in each file."""

__all__: list[str] = []
