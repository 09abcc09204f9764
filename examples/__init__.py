"""Small programs, one for each feature; begin with `hello.py` and `shop`."""
