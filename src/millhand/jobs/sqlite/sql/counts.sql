SELECT state, sum(n) FROM counts GROUP BY state
