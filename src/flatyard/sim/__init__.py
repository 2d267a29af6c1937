"""Simulation: event loops in simulated time, machines that boot from their real Ignition, a cluster's API."""
