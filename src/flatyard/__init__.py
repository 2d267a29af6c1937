"""Kubernetes clusters on Flatcar Container Linux: one tool for their whole life."""

from __future__ import annotations

__version__ = "0.1.0.dev0"
