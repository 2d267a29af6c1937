"""OpenStack, Jetstream2 among others."""
