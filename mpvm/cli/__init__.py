"""The command line: one module a subcommand, loaded when it is asked for. Parses and prints, decides nothing."""
