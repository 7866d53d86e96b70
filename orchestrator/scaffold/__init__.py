"""Files that a user begins with: new projects from templates, and new tables of a topology."""
