SELECT name, n FROM totals
