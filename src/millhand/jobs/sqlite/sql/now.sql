-- The database's own clock, unless a test brings its own.
SELECT coalesce(:now, (julianday('now') - 2440587.5) * 86400.0)
