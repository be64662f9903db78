SELECT json_group_array(json_object(
    'id', id, 'type', type, 'state', state, 'queue', queue, 'priority', priority, 'attempt', attempt,
    'max_attempts', max_attempts, 'token', token, 'payload', payload, 'result', result, 'error', json(error),
    'cancel_requested', json(iif(cancel_requested, 'true', 'false')), 'timeout', timeout,
    'submitted_at', submitted_at, 'run_at', run_at, 'started_at', started_at, 'finished_at', finished_at,
    'runner', runner))
FROM jobs
WHERE id IN (SELECT value FROM json_each(:ids))
