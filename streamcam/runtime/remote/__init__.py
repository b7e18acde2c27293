"""Engine on another machine: the same engine process, with a network in between."""
