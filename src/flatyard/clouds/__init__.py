"""The Cloud protocol, its conformance suite and the table of clouds; one folder for each cloud."""
