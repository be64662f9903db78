-- A lease that ran out counts only if its judge's own has more than half left, at this very moment: while the judge
-- waited for its turn to write, perhaps nobody could beat.
SELECT id FROM runners
WHERE id IN (SELECT value FROM json_each(:dead))
    OR (:expired AND expires_at < :now AND (:judge IS NULL OR EXISTS (
        SELECT 1 FROM runners AS judge
        WHERE judge.id = :judge AND judge.expires_at - :now > (judge.expires_at - judge.beat_at) / 2)))
