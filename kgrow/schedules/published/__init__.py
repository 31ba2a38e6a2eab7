"""Schedules of the papers."""
