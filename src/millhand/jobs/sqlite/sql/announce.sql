INSERT INTO runners (id, host, pid, started_at, beat_at, expires_at)
VALUES (:runner, :host, :pid, :now, :now, :now + :lease)
ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, expires_at = excluded.expires_at
