"""Runs the rules over files: the engine, fix rounds, baselines and the rules' pages."""
