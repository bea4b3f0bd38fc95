"""The command line: arguments to objects to text."""
