SELECT name FROM types ORDER BY name
