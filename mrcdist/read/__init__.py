"""The worker's side: all input and output is here."""
