"""The tables and plots of an estimate."""
