"""OSC over UDP and TCP: messages become changes of the parameters, and clients get feedback."""
