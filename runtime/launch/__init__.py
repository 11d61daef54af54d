"""What happens before training: processes, checks, everything made ready."""
