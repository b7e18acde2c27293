"""OSCQuery: the table of addresses by HTTP and WebSocket, announced on the network."""
