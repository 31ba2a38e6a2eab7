"""Savings: grown runs against runs from scratch."""
