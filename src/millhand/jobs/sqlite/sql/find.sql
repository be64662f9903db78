-- One page, newest first: ids grow with the time of submission.
SELECT json_group_array(id)
FROM (
    SELECT id FROM jobs
    WHERE (:cursor IS NULL OR id < :cursor)
        AND (:state IS NULL OR state = :state)
        AND (:type IS NULL OR type GLOB :type)
    ORDER BY id DESC
    LIMIT :limit
)
