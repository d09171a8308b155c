"""The shipped templates, as package data."""
