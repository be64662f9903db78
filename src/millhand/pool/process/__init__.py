"""Calls in processes: the parent's side, the child's side, and what travels between them."""
