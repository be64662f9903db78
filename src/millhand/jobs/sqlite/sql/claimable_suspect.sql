-- The next suspect of one queue (a job whose runner died), if this runner holds no other suspect.
SELECT json_group_array(json_object(
    'id', id, 'type', type, 'payload', payload, 'token', token + 1, 'attempt', attempt + 1,
    'max_attempts', max_attempts, 'timeout', timeout, 'rank', rank))
FROM (
    SELECT * FROM jobs INDEXED BY jobs_suspect
    WHERE queue = :queue AND state = 'pending' AND suspect = 1
        AND (type IN (SELECT value FROM json_each(:names))
            OR EXISTS (SELECT 1 FROM json_each(:globs) AS pattern WHERE jobs.type GLOB pattern.value))
        AND NOT EXISTS (
            SELECT 1 FROM jobs AS held INDEXED BY jobs_held
            WHERE held.runner = :runner AND held.state = 'processing' AND held.suspect = 1)
    ORDER BY band, rank, id
    LIMIT 1
)
