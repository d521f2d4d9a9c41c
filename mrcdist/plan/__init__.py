"""What to read and where it is. Pure: opens nothing."""
