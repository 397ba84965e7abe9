"""Decisions: values and pure functions, no os, socket, subprocess or clock."""
