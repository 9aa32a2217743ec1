"""The audit: rules against a corpus of scripts, and what it must leave as it was."""
