"""The simulated Kubernetes API over HTTP: what kubectl and other clients meet (DESIGN §3)."""
