"""Programs that execute a plan elsewhere than on this machine."""
