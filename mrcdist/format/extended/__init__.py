"""Extended headers: columns and quantities."""
