-- The next jobs of one queue that this runner can run, lowest rank first.
SELECT json_group_array(json_object(
    'id', id, 'type', type, 'payload', payload, 'token', token + 1, 'attempt', attempt + 1,
    'max_attempts', max_attempts, 'timeout', timeout, 'rank', rank))
FROM (
    SELECT * FROM jobs INDEXED BY jobs_claimable
    WHERE queue = :queue AND state = 'pending' AND suspect = 0
        AND (type IN (SELECT value FROM json_each(:names))
            OR EXISTS (SELECT 1 FROM json_each(:globs) AS pattern WHERE jobs.type GLOB pattern.value))
    ORDER BY band, rank, id
    LIMIT :room
)
