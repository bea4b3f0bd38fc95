"""Where files lie that are on no disk of this machine: buckets, and whatever plugins open."""
