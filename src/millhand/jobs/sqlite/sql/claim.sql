UPDATE jobs
SET state = 'processing', token = token + 1, attempt = attempt + 1, runner = :runner, started_at = :now
WHERE id IN (SELECT value FROM json_each(:ids)) AND +state = 'pending'
