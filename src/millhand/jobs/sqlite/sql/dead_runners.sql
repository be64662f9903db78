SELECT id FROM runners WHERE (:expired AND expires_at < :now) OR id IN (SELECT value FROM json_each(:dead))
