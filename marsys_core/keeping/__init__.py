"""What stores of runs have in common; for those who write one."""
