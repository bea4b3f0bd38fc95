"""Files to files: what is to be done, how it is done, and the record of it."""
