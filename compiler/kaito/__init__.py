"""How Kaito's own parser reads the sections of a training config."""
