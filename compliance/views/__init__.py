"""Pages of the data protection officer's desk, one module for each part of it."""
