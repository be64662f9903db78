-- The jobs whose time has come, earliest first, a bounded number at a time.
SELECT json_group_array(json_array(id, queue))
FROM (SELECT id, queue FROM jobs WHERE state = 'scheduled' AND run_at <= :now ORDER BY run_at LIMIT :limit)
