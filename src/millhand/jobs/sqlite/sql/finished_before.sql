-- Endings that were brought before with the same token: repeating them is no fault, and changes nothing.
SELECT json_group_array(json_array(jobs.id, jobs.token))
FROM json_each(:endings) AS ending
CROSS JOIN jobs ON jobs.id = ending.value ->> 'id'
WHERE jobs.token = ending.value ->> 'token'
    AND (jobs.state = ending.value ->> 'state'
        OR ending.value ->> 'state' = 'scheduled' AND jobs.state IN ('pending', 'cancelled'))
