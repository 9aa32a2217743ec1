"""What looks after the project and is no part of it: tests on other versions of torch, and the packages that are built."""
