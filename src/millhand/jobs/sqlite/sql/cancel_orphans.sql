UPDATE jobs
SET state = 'cancelled', token = token + 1, runner = NULL, finished_at = :now
WHERE id IN (SELECT value FROM json_each(:ids)) AND +state = 'processing'
