"""How a job lives: files, folders, progress, deadlines, workers, cost. Nothing here changes what a job makes."""
