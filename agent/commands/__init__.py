"""What each subcommand of `tocsin` does, one module each."""
