"""The language server: what `kaitoc check` knows, in an editor. Needs the `lsp` extra."""
