UPDATE runners SET beat_at = :now, expires_at = :now + :lease WHERE id = :runner
