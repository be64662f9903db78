SELECT id FROM jobs INDEXED BY jobs_unwanted WHERE runner = :runner AND state = 'processing' AND cancel_requested = 1
