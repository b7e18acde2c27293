"""Control: the live parameters, and the protocols that change them while on air."""
