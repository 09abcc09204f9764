"""What is seen from outside: traces and logs."""
