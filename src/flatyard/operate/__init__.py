"""Looking after a cluster: where the time went, and what else a person asks about it afterwards."""
