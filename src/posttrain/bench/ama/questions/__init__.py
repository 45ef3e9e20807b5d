"""Makers of questions with known evidence, for any world whose events and states are known."""
