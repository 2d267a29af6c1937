"""YAML and JSON text to typed values, every error at once with line and column (DESIGN §3, "The decoder")."""
