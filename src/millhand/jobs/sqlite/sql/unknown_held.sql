-- Jobs listed under this runner that it does not know: the answer to their claim never arrived.
SELECT json_group_array(json_array(id, queue))
FROM jobs INDEXED BY jobs_held
WHERE runner = :runner AND state = 'processing' AND (id, token) NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each(:held))
