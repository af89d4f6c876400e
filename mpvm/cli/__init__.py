"""The command line: one module a subcommand, loaded when asked for. Parses and prints, decides nothing."""
