UPDATE jobs
SET state = 'pending', token = token + 1, attempt = attempt - 1, deaths = deaths + suspect, suspect = 1,
    runner = NULL, started_at = NULL
WHERE id IN (SELECT value FROM json_each(:ids)) AND +state = 'processing'
