SELECT queue FROM counts WHERE state = 'pending' AND n > 0
