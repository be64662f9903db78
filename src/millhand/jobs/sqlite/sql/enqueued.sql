-- What the enqueue before really added (repeated ids added nothing), by queue and state.
SELECT json_group_array(json_array(queue, state, n))
FROM (SELECT queue, state, count(*) AS n FROM jobs WHERE rowid > :before GROUP BY queue, state)
