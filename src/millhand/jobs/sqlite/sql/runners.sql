SELECT id, host, pid, started_at, beat_at, expires_at FROM runners ORDER BY started_at
