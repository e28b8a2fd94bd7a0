"""The same jobs on many processes and machines."""
