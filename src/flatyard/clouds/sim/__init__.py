"""The simulated cloud: a provider's API with its limits, delays and refusals, and the adapter that talks to
it.
"""
