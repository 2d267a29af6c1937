"""What everything else leans on: errors, world (clock, ids, randomness), names, units."""
