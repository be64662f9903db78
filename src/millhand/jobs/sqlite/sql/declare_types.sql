INSERT OR IGNORE INTO types (name) SELECT value FROM json_each(:types)
