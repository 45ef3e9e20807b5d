"""Worlds whose logs come with questions and known evidence."""
