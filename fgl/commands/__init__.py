"""The command line: one file for each command, and the options and output that several commands share."""
