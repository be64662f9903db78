UPDATE jobs
SET state = 'failed', token = token + 1, deaths = deaths + 1, runner = NULL, finished_at = :now, error = :error
WHERE id IN (SELECT value FROM json_each(:ids)) AND +state = 'processing'
