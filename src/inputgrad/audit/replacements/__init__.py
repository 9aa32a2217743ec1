"""What to write instead, made of the user's own lines: one file for each kind of change. "" where it cannot be said in lines. Judges nothing."""
