"""Jobs kept in one SQLite file: one writer thread, group commit, readers that never wait."""

from millhand.jobs.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
