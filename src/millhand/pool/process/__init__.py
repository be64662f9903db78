"""Calls in processes: the parent's side, the child's side, and what travels between them.

Its one public name, `ProcessPool`, is exported by `millhand.pool`; to import it here would have each child import it.
"""

__all__: list[str] = []
