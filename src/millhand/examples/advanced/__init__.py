"""What becomes of the first steps in a program that has to last."""

__all__: list[str] = []
