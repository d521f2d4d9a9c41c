"""Reading on a worker: byte ranges → blocks."""
