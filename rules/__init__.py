"""One module per rule; `RULES` is the whole rule set."""
