"""What earlier runs were: a database that is made of run folders, and what it says of tests."""
