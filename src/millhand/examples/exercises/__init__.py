"""Tasks to be solved, each with the checks that a solution must pass (`millhand examples exercises --check FILE`)."""

__all__: list[str] = []
