SELECT json_group_array(id) FROM jobs WHERE id IN (SELECT value FROM json_each(:ids))
