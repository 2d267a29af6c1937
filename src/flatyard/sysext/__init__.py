"""Kubernetes as a system extension: the bakery's layout, feeds with hashes, the supported versions."""
