"""This Linux machine: nodes are systemd-nspawn containers."""
