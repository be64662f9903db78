INSERT INTO totals (name, n)
SELECT key, value FROM json_each(:changes) WHERE true
ON CONFLICT (name) DO UPDATE SET n = n + excluded.n
