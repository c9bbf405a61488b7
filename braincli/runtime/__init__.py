"""What every command stands on: files, progress, records of runs, devices."""
