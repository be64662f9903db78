-- Back to wait where it stood, as if never claimed; the token grows so that the old claim is worth nothing.
UPDATE jobs
SET state = 'pending', token = token + 1, attempt = attempt - 1, runner = NULL, started_at = NULL
WHERE id IN (SELECT value FROM json_each(:ids)) AND +state = 'processing'
