"""The Kubernetes API as flatyard needs it: the Api protocol, its clients, reflector, lease and drain."""
