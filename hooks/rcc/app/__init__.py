"""The steps of each job, in order: decisions from core, effects from system."""
