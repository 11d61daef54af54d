"""From files and URLs to tokenised examples."""
