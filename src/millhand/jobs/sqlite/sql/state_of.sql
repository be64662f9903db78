SELECT queue, state FROM jobs WHERE id = :id
