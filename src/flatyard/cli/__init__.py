"""The command line: the only folder that paints. Each command is a module of its own, imported when it is called."""
