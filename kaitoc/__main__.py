"""`kaitoc` and `python -m kaitoc`."""

import gc


def main() -> None:
    """Run the command line."""
    try:
        gc.disable()  # nothing that is imported turns into garbage: looking for it takes time
        from kaitoc.compiler.cli import main_process  # after the collector is off

        gc.enable()
        main_process()
    except KeyboardInterrupt:  # while modules are loaded
        raise SystemExit(128 + 2) from None


if __name__ == "__main__":
    main()
