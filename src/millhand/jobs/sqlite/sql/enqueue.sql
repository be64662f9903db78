-- Keep a batch of jobs in one step: while a step runs the GIL is free, but between two steps it must be won back.
INSERT INTO jobs (id, type, queue, state, priority, band, rank, payload, timeout, max_attempts, submitted_at, run_at)
SELECT
    value ->> 'id',
    value ->> 'type',
    value ->> 'queue',
    iif(value ->> 'delay' > 0, 'scheduled', 'pending'),
    value ->> 'priority',
    0,
    :now + (value ->> 'delay') - (value ->> 'priority') * :ageing,
    value ->> 'payload',
    value ->> 'timeout',
    value ->> 'max_attempts',
    :now,
    :now + (value ->> 'delay')
FROM json_each(:jobs)
WHERE true
ON CONFLICT (id) DO NOTHING
