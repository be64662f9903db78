-- Only an ending that carries the job's present token changes anything: that is the fence.
UPDATE jobs
SET state = iif(ending.state = 'scheduled' AND jobs.cancel_requested, 'cancelled', ending.state),
    result = ending.result,
    error = ending.error,
    attempt = jobs.attempt - ending.uncounted,
    run_at = iif(ending.state = 'scheduled', :now + ending.delay, jobs.run_at),
    finished_at = iif(ending.state = 'scheduled' AND NOT jobs.cancel_requested, NULL, :now),
    suspect = 0,
    deaths = 0
FROM (
    SELECT value ->> 'id' AS id, value ->> 'token' AS token, value ->> 'state' AS state,
        value ->> 'result' AS result, value ->> 'error' AS error, value ->> 'delay' AS delay,
        NOT (value ->> 'counts_as_attempt') AS uncounted
    FROM json_each(:endings)
) AS ending
WHERE jobs.id = ending.id AND jobs.token = ending.token AND +jobs.state = 'processing' -- the +: by id, never by the index of what is held
