"""From files and URLs to tokenized examples."""
