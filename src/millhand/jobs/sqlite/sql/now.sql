-- The database's own clock, unless a test brings its own.
-- In whole milliseconds, which JSON carries unchanged (SQLite writes 15 digits of a number).
SELECT coalesce(:now, round((julianday('now') - 2440587.5) * 86400.0, 3))
