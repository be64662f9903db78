SELECT json_group_array(json_array(jobs.id, jobs.queue))
FROM json_each(:held) AS held
CROSS JOIN jobs ON jobs.id = held.value ->> 0
WHERE jobs.token = held.value ->> 1 AND jobs.state = 'processing'
