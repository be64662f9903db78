SELECT coalesce(sum(n), 0) FROM counts WHERE state IN ('pending', 'scheduled')
