"""`python -m kaitoc.compiler` is the `kaitoc` command."""

from kaitoc.compiler.cli import main

main()
