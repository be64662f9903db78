-- Which of these endings still hold the job (right token, still processing), and what they come to.
SELECT json_group_array(json_array(jobs.id, jobs.token, jobs.queue, jobs.suspect,
    iif(ending.value ->> 'state' = 'scheduled' AND jobs.cancel_requested, 'cancelled', ending.value ->> 'state')))
FROM json_each(:endings) AS ending
CROSS JOIN jobs ON jobs.id = ending.value ->> 'id'
WHERE jobs.token = ending.value ->> 'token' AND jobs.state = 'processing'
