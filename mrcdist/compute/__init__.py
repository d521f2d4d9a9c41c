"""What is computed from frames."""
