"""One machine's Ignition: what makes a vanilla Flatcar image a Kubernetes node in one boot."""
