"""A page to look through the results of a run or of a training: worst first, before and after."""
