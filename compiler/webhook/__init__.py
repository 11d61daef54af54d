"""`kaitoc webhook`: admission over HTTPS. The only package that needs the `webhook` extra."""
