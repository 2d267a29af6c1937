"""VMware vSphere."""
