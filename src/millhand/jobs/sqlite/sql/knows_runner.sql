SELECT EXISTS (SELECT 1 FROM runners WHERE id = :runner)
