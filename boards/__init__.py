"""Board platforms and build scripts, one folder a board."""
