-- What a dead runner held. The state is checked here and the token raised after, in the one transaction:
-- a finish that came first stays, one that comes later finds its token stale.
SELECT json_group_array(json_array(id, queue, suspect, deaths, cancel_requested))
FROM jobs INDEXED BY jobs_held
WHERE runner = :runner AND state = 'processing'
