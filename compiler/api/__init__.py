"""The public functions, which `import kaitoc` loads one by one; the command line and the webhook call them too."""
