"""Text with positions, findings, edits and the small tools that every room above uses."""
