SELECT n FROM totals WHERE name = 'arrivals'
