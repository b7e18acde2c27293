"""Tables of settings, each field declared once: flags, TOML, OSC and the docs follow from them."""
