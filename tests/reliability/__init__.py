"""Damaged files, sudden deaths, two at once, resume, and the cases from the field."""
