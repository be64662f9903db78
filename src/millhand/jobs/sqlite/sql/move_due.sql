UPDATE jobs
SET state = 'pending', rank = run_at - priority * :ageing
WHERE id IN (SELECT value FROM json_each(:ids)) AND +state = 'scheduled'
