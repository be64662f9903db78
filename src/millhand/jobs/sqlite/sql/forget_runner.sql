DELETE FROM runners WHERE id = :runner
